"""Blocks of patches as BEiT masks them (Bao et al., arXiv 2106.08254, algorithm 1), for a whole batch at once.

Letters: B batch, A attempts, H, W grid in patches.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

MIN_PATCHES = 16
MIN_ASPECT = 0.3
ATTEMPTS = 10


class Blocks(NamedTuple):
    """Rectangles, int64 (B, A) each: first row, first column, height, width; and whether the grid is larger."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    fits: Tensor


def draw_blocks(batch: int, grid: tuple[int, int], masked: int, generator: torch.Generator | None = None) -> Tensor:
    """Cover ``masked`` patches of each sample with blocks.

    A block has at least 16 patches, at most as many as are still to be masked, and an aspect ratio log-uniform in
    0.3 .. 1 / 0.3. It is smaller than the grid in both directions, and masks at least one new patch but not too many.
    If ten attempts yield no such block, BEiT's program stops short of the count. This function instead clips one of
    the ten to the grid and drops the patches beyond the count. That also serves grids too small or too narrow for a
    block of 16.

    Args:
        batch: samples B.
        grid: rows and columns (H, W).
        masked: patches to mask, above 0 and below H * W.
        generator: source of randomness on the CPU; None takes PyTorch's own.

    Returns:
        bool (B, H * W), True = masked, on the CPU.
    """
    mask = torch.zeros(batch, *grid, dtype=torch.bool)
    open_samples = torch.arange(batch)
    while len(open_samples):
        part = mask[open_samples]
        left_over = masked - part.sum(dim=(1, 2))
        mask[open_samples] = part | _next_block(part, left_over, min(MIN_PATCHES, masked), generator)
        open_samples = open_samples[mask[open_samples].sum(dim=(1, 2)) < masked]
    # A block that is cut loses its last rows. Random flips keep one side of the grid from being masked less.
    for axis, flipped in enumerate(_uniform((2, batch, 1, 1), generator) < 0.5, start=1):
        mask = torch.where(flipped, mask.flip(axis), mask)
    return mask.flatten(1)


def _next_block(mask: Tensor, left_over: Tensor, smallest: int, generator: torch.Generator | None) -> Tensor:
    """New patches (B, H, W) for each sample: the first good attempt, else the first that masks anything new, cut."""
    attempts = _attempt(left_over, smallest, (mask.shape[1], mask.shape[2]), generator)
    fresh = attempts.height * attempts.width - _masked_inside(mask, attempts)
    good = attempts.fits & (fresh > 0) & (fresh <= left_over[:, None])
    # argmax gives the first maximum: good attempts rank above other new ones, and those above attempts with none new.
    chosen = (good.byte() * 2 + ((fresh > 0) & ~good).byte()).argmax(dim=1, keepdim=True)
    new = _paint(mask, *(each.gather(1, chosen)[:, :, None] for each in attempts[:4])) & ~mask
    rank = new.flatten(1).cumsum(dim=1).reshape(mask.shape)
    return new & (rank <= left_over[:, None, None])


def _attempt(left_over: Tensor, smallest: int, grid: tuple[int, int], generator: torch.Generator | None) -> Blocks:
    """Draw `ATTEMPTS` blocks for each sample, cut to the grid."""
    area, aspect, down, right = _uniform((4, len(left_over), ATTEMPTS), generator)
    # If fewer than ``smallest`` are left, the area lies between the two numbers, as in BEiT's program.
    area = smallest + area * (left_over[:, None] - smallest)
    aspect = torch.exp((2 * aspect - 1) * math.log(MIN_ASPECT))
    height = (area * aspect).sqrt().round().long()
    width = (area / aspect).sqrt().round().long()
    fits = (height < grid[0]) & (width < grid[1])
    height, width = height.clamp(1, grid[0]), width.clamp(1, grid[1])
    # The first row is in 0 .. H - height, both included.
    top, left = (down * (grid[0] - height + 1)).long(), (right * (grid[1] - width + 1)).long()
    return Blocks(top, left, height, width, fits)


def _masked_inside(mask: Tensor, blocks: Blocks) -> Tensor:
    """Count the masked patches in each block, (B, A), from sums over rectangles that start at the top left corner."""
    sums = torch.zeros(len(mask), mask.shape[1] + 1, mask.shape[2] + 1, dtype=torch.long)
    sums[:, 1:, 1:] = mask.cumsum(dim=1).cumsum(dim=2)
    sample = torch.arange(len(mask))[:, None]
    bottom, right = blocks.top + blocks.height, blocks.left + blocks.width
    above = sums[sample, blocks.top, right] - sums[sample, blocks.top, blocks.left]
    return sums[sample, bottom, right] - sums[sample, bottom, blocks.left] - above


def _paint(mask: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Draw one block per sample as bool (B, H, W); each argument of the block is (B, 1, 1)."""
    rows, columns = torch.arange(mask.shape[1])[:, None], torch.arange(mask.shape[2])
    inside = (rows >= top) & (rows < top + height)
    return inside & (columns >= left) & (columns < left + width)


def _uniform(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    # float64, because in float32 a number below 1 times a side could round up to the side.
    return torch.rand(shape, generator=generator, dtype=torch.float64)
