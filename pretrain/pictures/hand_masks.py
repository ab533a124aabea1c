"""Masks for pictures: read from files, or drawn for several ratios side by side.

Letters: N images, H, W grid in patches, L = H * W patches.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from pretrain.data.images import read_image
from pretrain.masking.masks import draw_mask

HIDDEN, SHOWN = '#1', '.0'


def drawn_masks(count: int, grid: tuple[int, int], kind: str, ratios: Sequence[float], seed: int) -> dict[str, Tensor]:
    """Draw masks of several ratios from the same seed: a larger 'random' mask contains the smaller ones.

    Args:
        count: images N.
        grid: rows and columns (H, W).
        kind: see `pretrain.masking.masks.MASK_KINDS`.
        ratios: shares to mask.
        seed: seed of each.

    Returns:
        title -> bool (N, L), True = masked.

    Raises:
        ValueError: see `pretrain.masking.masks.draw_mask`.
    """
    title = 'masked {:.4g}%' if kind == 'random' else f'masked {{:.4g}}% ({kind})'
    return {
        title.format(100 * ratio): draw_mask(kind, count, grid, ratio, torch.Generator().manual_seed(seed))
        for ratio in ratios
    }


def read_masks(paths: Sequence[str | os.PathLike[str]], count: int, grid: tuple[int, int]) -> dict[str, Tensor]:
    """Read masks made by hand, each of which is used for all images.

    Args:
        paths: see `read_mask`.
        count: images N.
        grid: rows and columns (H, W).

    Returns:
        title -> bool (N, L), True = masked.

    Raises:
        ValueError: see `read_mask`.
    """
    return {f'masked by {Path(path).name}': read_mask(path, grid).expand(count, -1) for path in paths}


def read_mask(path: str | os.PathLike[str], grid: tuple[int, int]) -> Tensor:
    """Read a mask made by hand.

    Args:
        path: a text file (``.txt``) with a line per row of patches, ``#`` hidden and ``.`` shown (or ``1`` and ``0``);
            or an image, white hidden and black shown. An image has one pixel per patch or a whole multiple, such as the
            size of the model's input; then the larger part of a patch decides.
        grid: rows and columns (H, W) of the model's images.

    Returns:
        bool (1, L), True = masked.

    Raises:
        ValueError: the file cannot be read, is of another size, or hides all or nothing.
    """
    mask = _read_text(path, grid) if Path(path).suffix == '.txt' else _read_picture(path, grid)
    if mask.all() or not mask.any():
        raise ValueError(f'{path} hides {"every" if mask.all() else "no"} patch: some have to be hidden and some shown')
    return torch.from_numpy(mask).reshape(1, -1)


def _read_text(path: str | os.PathLike[str], grid: tuple[int, int]) -> np.ndarray:
    rows = [line.replace(' ', '') for line in Path(path).read_text().splitlines() if line.strip()]
    wrong = sorted({sign for row in rows for sign in row} - set(HIDDEN + SHOWN))
    if wrong:
        raise ValueError(f'{path} has {wrong[0]!r}, where # (or 1) hides a patch and . (or 0) shows it')
    if len(rows) != grid[0] or any(len(row) != grid[1] for row in rows):
        sizes = sorted({len(row) for row in rows})
        raise ValueError(f'{path} has {len(rows)} rows of {sizes} patches, the model {grid[0]} rows of {grid[1]}')
    return np.array([[sign in HIDDEN for sign in row] for row in rows])


def _read_picture(path: str | os.PathLike[str], grid: tuple[int, int]) -> np.ndarray:
    grey = read_image(path).mean(axis=2).astype(np.float32)
    scale = grey.shape[0] // grid[0]
    if not scale or grey.shape != (grid[0] * scale, grid[1] * scale):
        raise ValueError(
            f'{path} is {grey.shape[0]}x{grey.shape[1]}: a mask has a pixel for each of the {grid[0]}x{grid[1]} '
            'patches (height x width), or the same multiple of both'
        )
    return cv2.resize(grey, (grid[1], grid[0]), interpolation=cv2.INTER_AREA) > 127
