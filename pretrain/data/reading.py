"""Helpers that all data sets of images use: reading past broken files, and one source of randomness."""

import os
import random
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from backbones.data.images.listing import shown
from backbones.data.images.read import Range, read_image

T = TypeVar('T')


def path_array(paths: Iterable[str]) -> np.ndarray:
    """Put paths into one array of bytes.

    A list of a million strings would gradually be copied into every worker, because reading a Python object writes its
    reference count.
    """
    return np.array([os.fsencode(path) for path in paths])


def read_tensor(path: str, value_range: Range | None = None) -> Tensor:
    """Read an image: uint8 (3, H, W), channels last in memory, RGB; see `read_image`."""
    # (H, W, 3) -> (3, H, W)
    return torch.from_numpy(read_image(path, value_range)).permute(2, 0, 1)


def read_next(paths: np.ndarray, index: int, read: Callable[[str], T]) -> tuple[T, int]:
    """Read the image at ``index``, or the next one that can be read; each broken file is named in a warning.

    Args:
        paths: see `path_array`.
        index: where to start.
        read: reads a file, and raises ValueError if it cannot.

    Returns:
        the result of ``read``, and the index of the image read.

    Raises:
        ValueError: no file can be read.
    """
    for step in range(len(paths)):
        place = (index + step) % len(paths)
        try:
            return read(os.fsdecode(paths[place])), place
        except ValueError as error:
            warnings.warn(f'{error}; the next image takes its place', stacklevel=2)
    raise ValueError(f'none of the {len(paths)} images can be read, the first is {shown(os.fsdecode(paths[0]))}')


@contextmanager
def seeded_libraries(generator: torch.Generator | None = None) -> Iterator[None]:
    """Seed Python's and NumPy's global generators, from which timm draws, from PyTorch's inside the block.

    Args:
        generator: source of the seed; None takes PyTorch's own.
    """
    states = random.getstate(), np.random.get_state()
    seed = int(torch.randint(2**32, (), generator=generator))
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
