"""The randomness of libraries that draw from Python's and NumPy's global generators."""

import random

import numpy as np
import torch

from pretrain.data.reading import seeded_libraries


def draws(seed):
    with seeded_libraries(torch.Generator().manual_seed(seed)):
        return random.random(), np.random.rand()


def test_seeded_libraries__follow_the_generator():
    assert draws(1) == draws(1)
    assert draws(1)[0] != draws(2)[0]
    assert draws(1)[1] != draws(2)[1]


def test_seeded_libraries__leave_the_state_outside_alone():
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    draws(1)
    assert (random.random(), np.random.rand()) == expected
