"""What needs mmdet or mmseg, or starts whole runs: commands, reports, studies, benches."""
