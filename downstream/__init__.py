"""Code that needs mmdet or mmseg, or that starts whole runs: commands, reports, studies, benches."""
