"""Which positions a PlainViT and each of its blocks have."""

from collections.abc import Sequence
from typing import TypeAlias, TypedDict

from backbones.vit.variants import block_index

Grid: TypeAlias = tuple[int, int]

# BEiT's relative positions, which know the class token; the others do not.
TABLES = ('table', 'shared_table')
# MViTv2's, of all blocks or of those without windows.
DECOMPOSED = ('decomposed', 'decomposed_global')


class TableGrids(TypedDict):
    """The two arguments of `Block` that say which relative positions it has."""

    rel_pos_grid: Grid | None
    table_grid: Grid | None


def table_grids(rel_pos: str | None, window: int, image_grid: Grid) -> TableGrids:
    """Grids behind a block's relative positions, as `Block` takes them: those of its windows or of the image."""
    reach = (window, window) if window else image_grid
    decomposed = rel_pos == 'decomposed' or (rel_pos == 'decomposed_global' and not window)
    return TableGrids(rel_pos_grid=reach if decomposed else None, table_grid=reach if rel_pos == 'table' else None)


def block_windows(window: int, global_blocks: Sequence[int], depth: int) -> list[int]:
    """Window of each block, 0 for those that attend globally.

    Raises:
        ValueError: there is no such block.
    """
    everywhere = {block_index(i, depth, 'global_blocks') for i in global_blocks}
    return [0 if index in everywhere else window for index in range(depth)]


def check_positions(rel_pos: str | None, window_size: int, use_abs_pos: bool, window_abs_pos: bool) -> None:
    """Refuse kinds of positions that do not exist or do not go together.

    Raises:
        ValueError: names the argument, and what to set instead.
    """
    if rel_pos not in (None, *DECOMPOSED, *TABLES):
        kinds = ', '.join(map(repr, (*DECOMPOSED, *TABLES)))
        raise ValueError(f'rel_pos={rel_pos!r} is unknown: use None, {kinds}')
    if rel_pos == 'shared_table' and window_size:
        raise ValueError(
            f"rel_pos='shared_table' is one table for the whole image, and window_size={window_size} needs its own: "
            "use rel_pos='table', which every block starts from a shared one of a file, or window_size=0"
        )
    if rel_pos is None and not use_abs_pos:
        raise ValueError('use_abs_pos=False leaves no positions at all: set rel_pos')
    if window_abs_pos and not (window_size and use_abs_pos):
        raise ValueError(
            f'window_abs_pos=True repeats the positions in each window, but window_size={window_size} and '
            f'use_abs_pos={use_abs_pos}: set both'
        )
