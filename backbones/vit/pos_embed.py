"""Absolute positions: the fixed 2-D sin-cos table, and resampling of any table to another grid.

Letters: H, W grid; L = H * W positions; D width; P prefix rows (the class token's).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from backbones.vit.exporting import same_grid


def sincos_pos_embed(dim: int, grid: tuple[int, int], prefix_tokens: int = 1) -> Tensor:
    """Build the 2-D sin-cos table in the layout of the published MAE weights.

    The first half of the width encodes x, the second y; each half is ``[sin, cos]`` of the position times
    ``10000 ** -(i / (D / 4))`` (Vaswani et al., 2017, per axis). Rows run over the grid row by row.

    Args:
        dim: width D, a multiple of 4.
        grid: (H, W) in patches.
        prefix_tokens: number of zero rows in front, for tokens without a place.

    Returns:
        float32 tensor (1, P + H * W, D).

    Raises:
        ValueError: ``dim`` is not a multiple of 4.
    """
    if dim % 4:
        raise ValueError(f'2-D sin-cos positions need a width that is a multiple of 4, not {dim}')
    height, width = grid
    frequencies = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing='ij'
    )
    halves = []
    for axis in (x, y):
        angles = axis.reshape(-1, 1) * frequencies  # (H, W) -> (L, D / 4)
        halves += [angles.sin(), angles.cos()]
    table = torch.cat(halves, dim=1)
    prefix = table.new_zeros(prefix_tokens, dim)
    return torch.cat([prefix, table])[None].float()


def resample_pos_embed(
    table: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int], prefix_tokens: int = 1
) -> Tensor:
    """Resample a position table to another grid, bicubic without antialias, as MAE, BEiT, mmseg and detectron2 do.

    Args:
        table: (1, P + old H * old W, D).
        old_grid: (H, W) of the table.
        new_grid: (H, W) wanted.
        prefix_tokens: number of first rows to keep as they are.

    Returns:
        (1, P + new H * new W, D); ``table`` itself where the grids agree.

    Raises:
        ValueError: the table's rows do not fit ``old_grid``.
    """
    rows = prefix_tokens + old_grid[0] * old_grid[1]
    if table.shape[1] != rows:
        raise ValueError(
            f'a position table for a {old_grid[0]}x{old_grid[1]} grid with {prefix_tokens} prefix rows has '
            f'{rows} rows, this one has {table.shape[1]}'
        )
    if same_grid(old_grid, new_grid):
        return table
    prefix, places = table[:, :prefix_tokens], table[:, prefix_tokens:]
    # (1, H * W, D) -> (1, D, H, W)
    places = places.reshape(1, *old_grid, -1).permute(0, 3, 1, 2)
    places = F.interpolate(places.float(), size=new_grid, mode='bicubic', align_corners=False)
    # (1, D, H', W') -> (1, H' * W', D)
    places = places.flatten(2).transpose(1, 2).to(table.dtype)
    return torch.cat([prefix, places], dim=1)


def tile_pos_embed(table: Tensor, window: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Repeat the table of a window over a grid from the top left, as windows lie; copies at the far edges are cut.

    Args:
        table: (1, M * N, D).
        window: (M, N).
        grid: (H, W).

    Returns:
        (1, H * W, D).
    """
    rows = torch.arange(grid[0], device=table.device) % window[0]
    columns = torch.arange(grid[1], device=table.device) % window[1]
    # (H, 1) and (W,) -> (H * W,)
    return table[:, (rows[:, None] * window[1] + columns).flatten()]
