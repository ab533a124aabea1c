"""What `tools/benchmark.py` measures: one module per kind of work, each with a tuple ``BENCHES``."""
