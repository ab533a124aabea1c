"""Length, batch and rate of a training."""
