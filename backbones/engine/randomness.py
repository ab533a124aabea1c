"""Seeds for all generators at once."""

import random

import numpy as np
import torch


def seed_all(*numbers: int) -> None:
    """Seed the generators of PyTorch (of every device), NumPy and Python from whole numbers."""
    state = np.random.SeedSequence(numbers).generate_state(2, np.uint64)
    torch.manual_seed(int(state[0]))
    random.seed(int(state[1]))
    np.random.seed(int(state[1]) % 2**32)
