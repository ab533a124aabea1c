"""Bringing a position table to a model's grid, and finding out which grid a table is of.

Letters: P prefix rows (0 or 1), H, W grid, D width.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from backbones.vit.pos_embed import resample_pos_embed, sincos_pos_embed

# Mean squared distance to the sin-cos table; learned tables are two orders of magnitude further off.
NEAR_SINCOS = 1e-2
# How much nearer a table must be to the sin-cos table of one grid than to those of all others.
MUCH_NEARER = 0.5


def fit_positions(table: Tensor, grid: tuple[int, int], known: tuple[int, int] | None = None) -> Tensor | None:
    """Resample a position table to another grid.

    Args:
        table: (1, P + H * W, D).
        grid: (H, W) wanted.
        known: (H, W) of the table where file or user tell it.

    Returns:
        (1, 1 + H * W, D), the prefix row zero where the table has none; None where the table's grid cannot be known.
    """
    if table.ndim != 3:
        return None
    old_grid = grid_of(table, grid, known)
    if old_grid is None:
        return None
    if table.shape[1] == old_grid[0] * old_grid[1]:
        table = F.pad(table, (0, 0, 1, 0))
    return resample_pos_embed(table, old_grid, grid)


def prefix_rows(rows: int, grid: tuple[int, int] | None, known: tuple[int, int] | None = None) -> int:
    """Rows of a table in front of its places.

    Args:
        rows: of the table.
        grid: (H, W) of the model. 25 rows are a class token's and 4 x 6 places where the model has these, before they
            are 5 x 5 places alone.
        known: (H, W) of the table where file or user tell it.
    """
    if known and rows - known[0] * known[1] in (0, 1):
        return rows - known[0] * known[1]
    if grid and rows - grid[0] * grid[1] == 1:
        return 1
    square = split_rows(rows)
    # Tables of other grids have a row for the class token in all published formats.
    return square[0] if square else 1


def split_rows(rows: int) -> tuple[int, int] | None:
    """Split the rows of a square position table in (prefix rows P, side of the grid); None if it is not square."""
    for prefix in (1, 0):
        side = math.isqrt(max(rows - prefix, 0))
        if side and side * side == rows - prefix:
            return prefix, side
    return None


def grid_of(
    table: Tensor, grid: tuple[int, int] | None = None, known: tuple[int, int] | None = None
) -> tuple[int, int] | None:
    """Tell the grid of a table (1, P + H * W, D).

    A fixed sin-cos table tells its own. A learned one does not: published ones are square. One of as many places as
    the model's grid is taken for a table of that grid, unless a square has as many too.

    Args:
        table: the table.
        grid: (H, W) of the model, if there is one.
        known: (H, W) of the table where file or user tell it.
    """
    prefix = prefix_rows(table.shape[1], grid, known)
    places = table.shape[1] - prefix
    # 25 rows may be 5 x 5 places, or a class token's and 4 x 6: a fixed table tells.
    drawn = [_grid_of_sincos(table[:, start:], table.shape[1] - start) for start in (prefix, 1 - prefix)]
    nearest = min((each for each in drawn if each), default=None)
    if nearest:
        return nearest[1]
    if known and known[0] * known[1] == places:
        return known
    side = math.isqrt(places)
    square = (side, side) if side * side == places else None
    as_many = grid is not None and grid[0] * grid[1] == places
    if as_many and square not in (None, grid):
        return None
    return grid if as_many else square


def _grid_of_sincos(places: Tensor, count: int) -> tuple[float, tuple[int, int]] | None:
    """Distance to and grid of a fixed sin-cos table (1, H * W, D), fine-tuned or not; None for a learned one."""
    if places.shape[2] % 4 or places.is_meta or not places.is_floating_point() or not count:
        return None
    side = math.isqrt(count)
    if side * side == count:
        distance = min(sincos_distances(places, (side, side)).values())
        if distance < NEAR_SINCOS:
            return distance, (side, side)
    heights = [height for height in range(1, count + 1) if count % height == 0]
    found = {(h, count // h): min(sincos_distances(places, (h, count // h)).values()) for h in heights}
    best, *others = sorted(found, key=lambda each: found[each])
    limit = min((found[each] for each in others), default=1.0)
    return (found[best], best) if found[best] < MUCH_NEARER * limit else None


def sincos_distances(places: Tensor, grid: tuple[int, int]) -> dict[str, float]:
    """Mean squared distance of a table (1, H * W, D) to the fixed sin-cos tables of a grid.

    Returns:
        by layout: ``'xy'``, MAE's, encodes x in the first half of the width; ``'yx'``, of MoCo v3 and mmpretrain (an
        'ij' mesh), has the halves swapped. A network trained on either goes with its own: swapping the halves of a
        loaded table would change what the network computes, and resampling treats each column alike. So tables are
        never rewritten; the layout only tells a fixed table from a learned one, and its grid.
    """
    fixed = sincos_pos_embed(places.shape[2], grid, prefix_tokens=0)
    return {
        'xy': (places.float() - fixed).square().mean().item(),
        'yx': (places.float() - fixed.roll(fixed.shape[2] // 2, dims=2)).square().mean().item(),
    }
