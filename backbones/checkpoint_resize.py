"""Bringing a tensor of a checkpoint to the shape the model has, where a resampling is right.

Letters: P prefix rows (0 or 1), H, W grid, D width, S size of a relative-position table, d head width.
"""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from backbones.checkpoint_kernel import Channels, fit_kernel
from backbones.pos_embed import resample_pos_embed, sincos_pos_embed
from backbones.rel_pos_table import CLASS_ROWS, resample_table


def fit(
    name: str, tensor: Tensor, shape: Sequence[int], grid: tuple[int, int], channels: Channels = None
) -> Tensor | None:
    """Resample positions, relative positions and the patch projection; anything else must have the shape already.

    Args:
        name: parameter name.
        tensor: its value in the file.
        shape: its shape in the model.
        grid: (H, W) of the model's position table, or behind its relative-position tables where this is one.
        channels: see `backbones.checkpoint_kernel.spread_channels`; None leaves other channels unfit.

    Returns:
        the value in the model's shape, ``tensor`` itself where nothing changes, or None where no resampling is right.
    """
    if name == 'patch_embed.proj.weight':
        return fit_kernel(tensor, shape, channels)
    if tensor.ndim != len(shape) or tensor.shape[-1] != shape[-1]:
        return None
    if name == 'pos_embed':
        return fit_positions(tensor, grid)
    if list(tensor.shape) == list(shape):
        return tensor
    if is_table(name):
        return fit_table(tensor, grid)
    if is_rel_pos(name):
        # (2 S - 1, d) -> (1, d, 2 S - 1), resampled as ViTDet does at run time, and back
        return F.interpolate(tensor.float().t()[None], size=shape[0], mode='linear')[0].t()
    return None


def is_rel_pos(name: str) -> bool:
    """Whether a parameter is a table of relative positions, decomposed or BEiT's."""
    return name.endswith(('.rel_pos_h', '.rel_pos_w')) or is_table(name)


def is_table(name: str) -> bool:
    """Whether a parameter is a relative-position table of BEiT's."""
    return name.endswith('.relative_position_bias_table')


def fit_table(table: Tensor, grid: tuple[int, int]) -> Tensor | None:
    """Resample BEiT's table to another grid.

    Args:
        table: (rows, heads) of a square grid, as all published ones are.
        grid: (H, W) wanted.

    Returns:
        (new rows, heads), the three rows of the class token kept; None where the table is of no square grid.
    """
    rows = len(table) - CLASS_ROWS
    side = math.isqrt(max(rows, 0))
    if side * side != rows or side % 2 == 0:
        return None
    return resample_table(table, ((side + 1) // 2, (side + 1) // 2), grid)


def fit_positions(table: Tensor, grid: tuple[int, int]) -> Tensor | None:
    """Resample a position table to another grid.

    Args:
        table: (1, P + H * W, D) of a square grid, or of ``grid`` itself with P = 1.
        grid: (H, W) wanted.

    Returns:
        (1, 1 + H * W, D), the prefix row zero where the table has none; None where the table's grid cannot be known.
    """
    square = split_rows(table.shape[1])
    fits = table.shape[1] == 1 + grid[0] * grid[1]
    # 25 rows are a class token's and 4 x 6 places where the model has these, before they are 5 x 5 places alone.
    if square is None or (fits and not square[0]):
        return table if fits else None
    prefix, side = square
    if not prefix:
        table = F.pad(table, (0, 0, 1, 0))
    return resample_pos_embed(table, _likelier_grid(table, side, grid), grid)


def split_rows(rows: int) -> tuple[int, int] | None:
    """Split the rows of a square position table in (prefix rows P, side of the grid); None if it is not square."""
    for prefix in (1, 0):
        side = math.isqrt(rows - prefix)
        if side and side * side == rows - prefix:
            return prefix, side
    return None


def _likelier_grid(table: Tensor, side: int, grid: tuple[int, int]) -> tuple[int, int]:
    """Tell a square grid from another with as many places (6 x 6 or 4 x 9) by the sin-cos table nearer to ``table``.

    Learned tables are near neither; they are square in every published file.
    """
    square = (side, side)
    if grid == square or grid[0] * grid[1] != side * side:
        return square
    far, near = (min(sincos_distances(table, candidate).values()) for candidate in (square, grid))
    return grid if near < 0.5 * far else square


def sincos_distances(table: Tensor, grid: tuple[int, int]) -> dict[str, float]:
    """Mean squared distance of a table (1, 1 + H * W, D) to the fixed sin-cos tables of its grid.

    Returns:
        by layout: ``'xy'``, MAE's, encodes x in the first half of the width; ``'yx'``, of MoCo v3 and mmpretrain (an
        'ij' mesh), has the halves swapped. A network trained on either goes with its own: swapping the halves of a
        loaded table would change what the network computes, and resampling treats each column alike. So tables are
        never rewritten; the layout only tells a fixed table from a learned one, and its grid.
    """
    fixed = sincos_pos_embed(table.shape[2], grid)
    return {
        'xy': (table.float() - fixed).square().mean().item(),
        'yx': (table.float() - fixed.roll(fixed.shape[2] // 2, dims=2)).square().mean().item(),
    }
