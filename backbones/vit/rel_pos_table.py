"""Relative-position tables of BEiT (arXiv 2106.08254): one bias per head and offset, with extra class-token rows.

Letters: H, W grid of patches, L = H * W, N heads. A table has (2 H - 1)(2 W - 1) + 3 rows: the offsets from key to
query, row by row from the most negative, then class token to patch, patch to class token, class token to itself.
"""

from functools import lru_cache
from itertools import accumulate
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbones.vit.exporting import is_open, same_grid

CLASS_ROWS = 3
# Most bytes that all layers of a process together keep on each device. At 640 pixels the layers of a BEiT-base would
# keep 1.5 GB, those of a BEiT-large 4 GB. A layer that finds no room recomputes its bias each time.
KEPT_BYTES = 2**29


def table_rows(grid: tuple[int, int]) -> int:
    """Number of rows in the table of a grid (H, W)."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + CLASS_ROWS


class TableBias(nn.Module):
    """Attention bias of a table, kept between inference passes (without gradients) on the same grid.

    It is recomputed when the table has changed (by its version counter) or moved, or when the mode is switched: `train`
    and `eval` drop it, since writing through ``.data``, as mmengine's EMA does, raises no version counter. All layers
    together keep at most `KEPT_BYTES`; a copied or unpickled module starts with nothing kept.

    Args:
        table_grid: (H, W) of the table.
    """

    _keepers: WeakSet['TableBias'] = WeakSet()

    def __init__(self, table_grid: tuple[int, int]) -> None:
        super().__init__()
        self.table_grid = table_grid
        self._kept: tuple[tuple, Tensor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the kept bias out of copies and pickles."""
        return {**self.__dict__, '_kept': None}

    def forward(self, table: Tensor, grid: tuple[int, int], length: int) -> Tensor:
        """Bias (N, length, length) of a grid (H, W); ``length`` is H * W, or one more with the class token."""
        if torch.is_grad_enabled() or self.training or torch.compiler.is_compiling():
            return self._make(table, grid, length)
        # A tensor made under inference_mode has no version counter.
        version = -1 if table.is_inference() else table._version
        key = (version, table.data_ptr(), table.dtype, table.device, tuple(grid), length)
        if self._kept is None or self._kept[0] != key:
            self._kept = None
            bias = self._make(table, grid, length).contiguous()
            if bias.nbytes + kept_bytes(bias.device) > KEPT_BYTES:
                return bias
            self._kept = (key, bias)
            self._keepers.add(self)
        return self._kept[1]

    def train(self, mode: bool = True) -> 'TableBias':
        """Switch mode and drop the kept bias."""
        self._kept = None
        return super().train(mode)

    def _make(self, table: Tensor, grid: tuple[int, int], length: int) -> Tensor:
        # Without class token, as in windows, drop its row and column.
        return table_bias(table, self.table_grid, grid)[:, -length:, -length:]


def kept_bytes(device: torch.device) -> int:
    """Bytes that all `TableBias` modules of this process keep on a device."""
    kept = [keeper._kept[1] for keeper in TableBias._keepers if keeper._kept is not None]
    return sum(bias.nbytes for bias in kept if bias.device == device)


class SharedTable(nn.Module):
    """One table for all blocks, as BEiT pretrains; zero-initialised.

    Args:
        grid: (H, W) of the table.
        num_heads: heads N.
    """

    def __init__(self, grid: tuple[int, int], num_heads: int) -> None:
        super().__init__()
        self.table_grid = grid
        self.relative_position_bias_table = nn.Parameter(torch.zeros(table_rows(grid), num_heads))
        self.table_bias = TableBias(grid)

    def forward(self, grid: tuple[int, int]) -> Tensor:
        """Attention bias (N, 1 + L, 1 + L) of a grid (H, W), see `table_bias`."""
        return self.table_bias(self.relative_position_bias_table, grid, 1 + grid[0] * grid[1])


def table_bias(table: Tensor, table_grid: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Look up the attention bias of every pair of tokens, class token first.

    Args:
        table: (rows, N).
        table_grid: (H, W) of the table.
        grid: (H, W) of the tokens; the table is resampled where the grids differ.

    Returns:
        (N, 1 + L, 1 + L), indexed [head, query, key].
    """
    table = resample_table(table, table_grid, grid)
    index = pair_index(grid, table.device)
    # (rows, N) -> (N, (1 + L)(1 + L)); takes a third of the time of table[index] and a transpose
    return table.t().index_select(1, index.flatten()).reshape(-1, *index.shape)


def pair_index(grid: tuple[int, int], device: torch.device) -> Tensor:
    """Row of a grid's table for each pair of tokens (1 + L, 1 + L), indexed [query, key].

    Each forward computes it again, which is cheap compared with the lookup; BEiT stores one in every block.
    """
    height, width = grid
    rows, columns = _offset_index(height, device), _offset_index(width, device)
    # (H, 1, H, 1) and (1, W, 1, W) -> (L, L)
    patches = rows[:, None, :, None] * (2 * width - 1) + columns[None, :, None, :]
    patches = patches.reshape(height * width, height * width)
    index = F.pad(patches, (1, 0, 1, 0))
    # The last query and the first key have the last offset; kept a tensor, as export would make a number a constant.
    last = patches[-1, 0]
    index[0, 1:] = last + 1
    index[1:, 0] = last + 2
    index[0, 0] = last + 3
    return index


def resample_table(table: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Resample a table to another grid as BEiT's fine-tuning does: cubic spline over geometric offsets.

    The spline is linear in the table, so two matrix products compute it. In double precision they round to exactly the
    numbers of SciPy's former ``interp2d(kind='cubic')``. An axis that keeps its length is left as it is.

    Args:
        table: (rows, N); its last three rows are kept.
        old_grid: (H, W) of the table.
        new_grid: (H, W) wanted.

    Returns:
        (new rows, N), differentiable in ``table``; ``table`` itself if the grids agree.

    Raises:
        ValueError: the table's rows do not fit ``old_grid``.
    """
    if len(table) != table_rows(old_grid):
        raise ValueError(
            f'a relative-position table of a {old_grid[0]}x{old_grid[1]} grid has {table_rows(old_grid)} rows, '
            f'this one has {len(table)}: give the grid it was trained with'
        )
    if same_grid(old_grid, new_grid):
        return table
    device = resampling_device(table.device)
    by_row, by_column = (_matrix(table, old, new).to(device) for old, new in zip(old_grid, new_grid, strict=True))
    # ((2 H - 1)(2 W - 1), N) -> (N, 2 H - 1, 2 W - 1), and back
    planes = table[:-CLASS_ROWS].t().reshape(-1, 2 * old_grid[0] - 1, 2 * old_grid[1] - 1)
    heads = planes.shape[0]
    # Batched products, since broadcasting would fold the heads into an axis whose size export then fixes.
    planes = by_row.expand(heads, -1, -1).bmm(planes.to(device).double()).bmm(by_column.t().expand(heads, -1, -1))
    return torch.cat([planes.flatten(1).t().to(table.dtype).to(table.device), table[-CLASS_ROWS:]])


def resampling_device(device: torch.device) -> torch.device:
    """Device to resample a device's tables on: the CPU for Apple's GPUs, which have no double precision."""
    return torch.device('cpu') if device.type == 'mps' else device


def _matrix(table: Tensor, old: int, new: int) -> Tensor:
    if torch.compiler.is_dynamo_compiling() or is_open(new):
        return resampling_matrix(table.detach(), old, new)
    return torch.tensor(spline_matrix(old, new))


@torch.library.custom_op('dense_mae::resampling_matrix', mutates_args=())
def resampling_matrix(table: Tensor, old: int, new: int) -> Tensor:
    """`spline_matrix` as an operator, for open sizes and for `torch.compile`, which cannot look into SciPy.

    Args:
        table: any tensor; PyTorch dispatches operators by a tensor argument.
        old: patches along the axis of the table.
        new: patches wanted.

    Returns:
        float64 (2 new - 1, 2 old - 1), on the CPU.
    """
    return torch.tensor(spline_matrix(old, new))


@resampling_matrix.register_fake
def _(table: Tensor, old: int, new: int) -> Tensor:
    return table.new_empty((2 * new - 1, 2 * old - 1), dtype=torch.float64, device='cpu')


@lru_cache(maxsize=64)
def spline_matrix(old: int, new: int) -> np.ndarray:
    """Matrix that resamples the offsets of one axis.

    Args:
        old: patches along the axis of the table.
        new: patches wanted.

    Returns:
        float64 (2 new - 1, 2 old - 1): the not-a-knot cubic spline through the old offsets at their geometric places,
        evaluated at -(new - 1) ... new - 1. It has a lower degree for one or three offsets, and is constant beyond its
        ends.
    """
    knots = 2 * old - 1
    if old in (1, new):
        return np.eye(knots) if old == new else np.ones((2 * new - 1, 1))
    places = geometric_places(old - 1, new - 1)
    wanted = np.clip(np.arange(1.0 - new, new), places[0], places[-1])
    # SciPy takes a second to import, and only tables that change their grid need it.
    from scipy.interpolate import make_interp_spline

    return make_interp_spline(places, np.eye(knots), k=min(3, knots - 1))(wanted)


def geometric_places(steps: int, reach: int) -> np.ndarray:
    """Place the old offsets -steps ... steps on the axis of the new ones, -reach ... reach.

    The gaps 1, q, q ** 2, ... leave the centre as it is and stretch the rest, so that the last old offset meets the
    last new one. BEiT finds q by bisection in (1.01, 1.5); where q would lie outside, the ends do not meet.

    Returns:
        float64 (2 steps + 1,), ascending.
    """
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        reached = (1 - ratio**steps) / (1 - ratio)
        low, high = (low, ratio) if reached > reach else (ratio, high)
    places = list(accumulate(ratio**step for step in range(steps)))
    return np.array([-place for place in reversed(places)] + [0.0, *places])


def _offset_index(size: int, device: torch.device) -> Tensor:
    """Row of each (query, key) pair among the 2 size - 1 offsets of an axis: (size, size)."""
    places = torch.arange(size, device=device)
    return places[:, None] - places[None, :] + size - 1
