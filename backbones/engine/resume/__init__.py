"""Checkpoints of a training: saved whole, and gone on from."""
