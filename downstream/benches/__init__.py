"""What `dense-mae benchmark` measures: one module per kind of work, each with a tuple ``BENCHES``."""
