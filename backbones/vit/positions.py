"""Which positions a PlainViT and its blocks have, and which tokens attend to each other."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias, TypedDict

from backbones.vit.variants import Size, block_index

Grid: TypeAlias = tuple[int, int]

# BEiT's relative positions, which cover the class token; the others do not.
TABLES = ('table', 'shared_table')
# MViTv2's relative positions, in all blocks or only in those without windows.
DECOMPOSED = ('decomposed', 'decomposed_global')


@dataclass(frozen=True)
class Positions:
    """Which positions the tokens of a PlainViT have, and which tokens attend to each other.

    Attributes:
        rel_pos: None; 'decomposed': a table per block and axis (arXiv 2112.01526); 'decomposed_global': the same, only
            in blocks without windows (arXiv 2311.05613); 'table': BEiT's table in each block (arXiv 2106.08254);
            'shared_table': one table for all blocks, as BEiT pretrains. All tables start at zero and belong to the
            grid of the image or of the windows; for other grids each forward resamples them.
        window_size: side of the attention windows in tokens; with 0 every block attends globally.
        global_blocks: blocks that attend globally despite ``window_size`` (ViTDet: the last of each quarter).
        use_abs_pos: have absolute positions; with False there is no ``pos_embed`` parameter, only ``rel_pos``.
        window_abs_pos: repeat ``pos_embed`` in every window instead of stretching it over the image, and add a
            stretched ``global_pos_embed`` that starts at zero (arXiv 2311.05613); MAE's 14 x 14 positions fit windows
            of 14.
        pretrain_img_size: image size of the ``pos_embed`` table when it differs from training (detectron2's ViTDet
            keeps the 224-pixel table and resamples it in each forward).
        attention: how to compute 'decomposed' relative positions, with the same values: 'bias' passes them to
            PyTorch's kernel as a bias, 'fold' puts them into its queries and keys, 'chunk' takes some queries at a
            time, 'auto' picks by `backbones.vit.attention.choose_way`.

    Raises:
        ValueError: an unknown kind, or kinds that do not go together; the message names what to set instead.
    """

    rel_pos: str | None = None
    window_size: int = 0
    global_blocks: Sequence[int] = ()
    use_abs_pos: bool = True
    window_abs_pos: bool = False
    pretrain_img_size: Size | None = None
    attention: str = 'auto'

    def __post_init__(self) -> None:
        check_positions(self.rel_pos, self.window_size, self.use_abs_pos, self.window_abs_pos)


POSITION_OPTIONS = tuple(field.name for field in fields(Positions))


def grouped(options: dict[str, Any]) -> dict[str, Any]:
    """Turn the flat options of configs and checkpoints into arguments of PlainViT."""
    inside = {name: value for name, value in options.items() if name in POSITION_OPTIONS}
    outside = {name: value for name, value in options.items() if name not in POSITION_OPTIONS}
    return {**outside, 'positions': Positions(**inside)} if inside else outside


class TableGrids(TypedDict):
    """The two arguments of `Block` that say which relative positions it has."""

    rel_pos_grid: Grid | None
    table_grid: Grid | None


def table_grids(rel_pos: str | None, window: int, image_grid: Grid) -> TableGrids:
    """Grids of a block's relative positions, as arguments of `Block`: its windows' grid or the image's."""
    reach = (window, window) if window else image_grid
    decomposed = rel_pos == 'decomposed' or (rel_pos == 'decomposed_global' and not window)
    return TableGrids(rel_pos_grid=reach if decomposed else None, table_grid=reach if rel_pos == 'table' else None)


def block_windows(window: int, global_blocks: Sequence[int], depth: int) -> list[int]:
    """Window size of each block, 0 for those that attend globally.

    Raises:
        ValueError: the model has no such block.
    """
    everywhere = {block_index(i, depth, 'global_blocks') for i in global_blocks}
    return [0 if index in everywhere else window for index in range(depth)]


def check_positions(rel_pos: str | None, window_size: int, use_abs_pos: bool, window_abs_pos: bool) -> None:
    """Refuse kinds of positions that do not exist or do not go together.

    Raises:
        ValueError: the message names the argument and what to set instead.
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
