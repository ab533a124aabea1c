"""Resample a position table to a model's grid, and find out the grid of a table.

Letters: P prefix rows (0 or 1), H, W grid, D width.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from backbones.vit.pos_embed import resample_pos_embed, sincos_pos_embed

# Limit of the mean squared distance to the sin-cos table; learned tables are two orders of magnitude further off.
NEAR_SINCOS = 1e-2
# How much nearer a table must be to the sin-cos table of one grid than to those of all others.
MUCH_NEARER = 0.5


def fit_positions(table: Tensor, grid: tuple[int, int], known: tuple[int, int] | None = None) -> Tensor | None:
    """Resample a position table to another grid.

    Args:
        table: (1, P + H * W, D).
        grid: (H, W) wanted.
        known: (H, W) of the table if the file or the user tells it.

    Returns:
        (1, 1 + H * W, D), with a prefix row of zeros if the table has none; None if the table's grid is unknown.
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
    """Number of rows in a table before those of the places.

    Args:
        rows: number of rows of the table.
        grid: (H, W) of the model, which decides ambiguous cases: 25 rows are a class token and 4 x 6 places if the
            model has that grid, else 5 x 5 places.
        known: (H, W) of the table if the file or the user tells it.
    """
    if known and rows - known[0] * known[1] in (0, 1):
        return rows - known[0] * known[1]
    if grid and rows - grid[0] * grid[1] == 1:
        return 1
    square = split_rows(rows)
    # In all published formats, tables that are not square have a row for the class token.
    return square[0] if square else 1


def split_rows(rows: int) -> tuple[int, int] | None:
    """Split the rows of a square position table into (prefix rows P, side of the grid); None if it is not square."""
    for prefix in (1, 0):
        side = math.isqrt(max(rows - prefix, 0))
        if side and side * side == rows - prefix:
            return prefix, side
    return None


def grid_of(
    table: Tensor, grid: tuple[int, int] | None = None, known: tuple[int, int] | None = None
) -> tuple[int, int] | None:
    """Find the grid of a table (1, P + H * W, D).

    A fixed sin-cos table shows its own grid. A learned one does not: it counts as square, as published ones are, or,
    with as many places as the model's grid, as a table of that grid. If both apply and differ, the answer is None.

    Args:
        table: the table.
        grid: (H, W) of the model, if there is one.
        known: (H, W) of the table if the file or the user tells it.
    """
    prefix = prefix_rows(table.shape[1], grid, known)
    places = table.shape[1] - prefix
    # 25 rows may be 5 x 5 places, or a class token and 4 x 6 places; a fixed table shows which.
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
    """Distance and grid of a fixed sin-cos table (1, H * W, D), fine-tuned or not; None for a learned one."""
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
        layout -> distance. Layout ``'xy'`` (MAE) encodes x in the first half of the width; ``'yx'`` (MoCo v3 and
        mmpretrain, an 'ij' mesh) has the halves swapped. Tables are never rewritten: swapping the halves would change
        what the trained network computes, and resampling treats all columns alike. The layout only serves to tell a
        fixed table from a learned one, and to find its grid.
    """
    fixed = sincos_pos_embed(places.shape[2], grid, prefix_tokens=0)
    return {
        'xy': (places.float() - fixed).square().mean().item(),
        'yx': (places.float() - fixed.roll(fixed.shape[2] // 2, dims=2)).square().mean().item(),
    }
