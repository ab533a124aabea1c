"""The measurements of `dense-mae benchmark`: one module per kind of work, each with a tuple ``BENCHES``."""
