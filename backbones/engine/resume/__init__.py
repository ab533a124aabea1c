"""Checkpoints of a training: save them atomically, and resume from them."""
