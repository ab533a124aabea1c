"""Find out which blocks of a file attend in windows, from the lengths of their relative-position tables.

Letters: S rows 2 M - 1 of a decomposed table of M places.
"""

import re
from typing import TypeAlias

from torch import Tensor

from backbones.checkpoint.resize import is_rel_pos, is_table, table_side

Grid: TypeAlias = tuple[int, int]
WINDOW, GLOBAL = 'windows', 'the whole image'


def reaches(tensors: dict[str, Tensor]) -> dict[int, Grid]:
    """Grid (H, W), of a square window or the image, that the tables of each block cover, if it has its own tables."""
    found: dict[int, Grid] = {}
    for name, table in tensors.items():
        block = re.match(r'blocks\.(\d+)\.attn\.', name)
        if not block or not is_rel_pos(name) or table.ndim != 2:
            continue
        index = int(block.group(1))
        if name.endswith(('_h', '_w')):
            rows = [tensors.get(f'blocks.{index}.attn.rel_pos_{axis}', table) for axis in 'hw']
            found[index] = ((len(rows[0]) + 1) // 2, (len(rows[1]) + 1) // 2)
        else:
            side = table_side(len(table))
            if side:
                found[index] = (side, side)
    return found


def block_kinds(tensors: dict[str, Tensor], depth: int, pos_grid: Grid | None) -> dict[int, str]:
    """Tell windows from global attention.

    If tables have two lengths, the short ones belong to windows and the long ones to the image. If only some blocks
    have decomposed tables, these blocks attend globally (arXiv 2311.05613). Tables of a single length belong to windows
    if they are shorter than the positions' grid, or are BEiT's and there is no class token; else they tell nothing.

    Args:
        tensors: an encoder's tensors under MAE's names.
        depth: number of blocks of the encoder.
        pos_grid: (H, W) of the positions, if known.

    Returns:
        block -> `WINDOW` or `GLOBAL`, for the blocks where it is known.
    """
    found = reaches(tensors)
    lengths = sorted(set(found.values()))
    if lengths and len(found) < depth and any('rel_pos_h' in name for name in tensors):
        return {index: GLOBAL if index in found else WINDOW for index in range(depth)}
    small = lengths[0] if lengths else (0, 0)
    if len(lengths) == 2 and small[0] == small[1] and small[0] <= lengths[1][0] and small[1] <= lengths[1][1]:
        return {index: WINDOW if reach == small else GLOBAL for index, reach in found.items()}
    windows = pos_grid is not None and max(small) < min(pos_grid)
    windows |= 'cls_token' not in tensors and any(is_table(name) for name in tensors)
    return dict.fromkeys(found, WINDOW) if windows and len(lengths) == 1 and small[0] == small[1] else {}
