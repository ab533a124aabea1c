"""Resample a tensor of a checkpoint to the model's shape, where that is right.

Letters: H, W grid, S size of a relative-position table, d head width.
"""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from backbones.checkpoint.kernel import Channels, fit_kernel
from backbones.checkpoint.positions import fit_positions
from backbones.vit.rel_pos_table import CLASS_ROWS, resample_table, table_rows


def fit(
    name: str,
    tensor: Tensor,
    shape: Sequence[int],
    grid: tuple[int, int],
    channels: Channels = None,
    known: tuple[int, int] | None = None,
) -> Tensor | None:
    """Resample positions, relative positions and the patch projection; other tensors must already have the shape.

    Args:
        name: parameter name.
        tensor: its value in the file.
        shape: its shape in the model.
        grid: (H, W) of the model's position table or, for one of BEiT's tables, of that table in the model.
        channels: see `backbones.checkpoint.kernel.spread_channels`; with None, other channels do not fit.
        known: (H, W) of the position table in the file if the file or the user tells it.

    Returns:
        the value in the model's shape, ``tensor`` itself if nothing changes, or None if no resampling is right.
    """
    if name == 'patch_embed.proj.weight':
        return fit_kernel(tensor, shape, channels)
    if tensor.ndim != len(shape) or tensor.shape[-1] != shape[-1]:
        return None
    if name == 'pos_embed':
        return fit_positions(tensor, grid, known)
    if is_table(name):
        return fit_table(tensor, grid)
    if list(tensor.shape) == list(shape):
        return tensor
    if is_rel_pos(name):
        # (2 S - 1, d) -> (1, d, 2 S - 1), resampled as ViTDet does at run time, and back
        return F.interpolate(tensor.float().t()[None], size=shape[0], mode='linear')[0].t()
    return None


def is_rel_pos(name: str) -> bool:
    """Whether a parameter is a table of relative positions, decomposed or BEiT's."""
    return name.endswith(('.rel_pos_h', '.rel_pos_w')) or is_table(name)


def is_table(name: str) -> bool:
    """Whether a parameter is one of BEiT's relative-position tables."""
    return name.endswith('.relative_position_bias_table')


def fit_table(table: Tensor, grid: tuple[int, int]) -> Tensor | None:
    """Resample BEiT's table to another grid.

    Args:
        table: (rows, heads) of a square grid, as all published ones are, or of ``grid`` itself.
        grid: (H, W) wanted.

    Returns:
        (new rows, heads), with the class token's three rows unchanged; None if the table's grid is not square, or if
        the wanted grid is not square and has as many rows (8 x 8 and 5 x 13).
    """
    side = table_side(len(table))
    if len(table) == table_rows(grid):
        return table if side is None or grid == (side, side) else None
    return None if side is None else resample_table(table, (side, side), grid)


def table_side(rows: int) -> int | None:
    """Side of the square grid of one of BEiT's tables; None if its grid is not square."""
    offsets = math.isqrt(max(rows - CLASS_ROWS, 0))
    return (offsets + 1) // 2 if offsets % 2 and offsets * offsets == rows - CLASS_ROWS else None
