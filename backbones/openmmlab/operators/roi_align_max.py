"""RoI align with the maximum over the samples of each bin."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Number of samples gathered at a time, over all channels, to limit the memory of large regions.
CHUNK = 1 << 24
# Value that compiled mmcv writes for a bin without samples.
NO_SAMPLE = -10000.0


@dataclass(frozen=True)
class Pooling:
    """Bins (height, width), cells per pixel, samples per bin and direction (0: one per cell), shift by half a cell."""

    bins: tuple[int, int]
    scale: float
    sampling_ratio: int
    aligned: bool

    def frame(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Regions (R, 5) -> corner (R, 2) and size of a bin (R, 2), as y, x in feature cells."""
        shift = 0.5 if self.aligned else 0.0
        # x1, y1, x2, y2 -> y1, x1 and y2, x2
        low = rois[:, [2, 1]] * self.scale - shift
        size = rois[:, [4, 3]] * self.scale - shift - low
        if not self.aligned:
            size = size.clamp(min=1)
        return low, size / size.new_tensor(self.bins)

    def samples(self, step: Tensor) -> Tensor:
        """Size of a bin (R, 2) -> samples per bin (R, 2) int64."""
        if self.sampling_ratio > 0:
            return torch.full_like(step, self.sampling_ratio, dtype=torch.long)
        return step.ceil().clamp(min=0).long()


def forward(features: Tensor, rois: Tensor, pooling: Pooling) -> tuple[Tensor, Tensor, Tensor]:
    """Features (B, C, H, W), regions (R, 5) -> maxima, sample rows, sample columns, each (R, C, height, width).

    Rows and columns count samples within the bin, so they are small integers that fp16 and bf16 store exactly. They
    are -1 in bins without samples.
    """
    shape = (len(rois), features.shape[1], *pooling.bins)
    values = features.new_full(shape, NO_SAMPLE)
    rows, columns = features.new_full(shape, -1.0), features.new_full(shape, -1.0)
    channels_last = features.permute(0, 2, 3, 1)
    for chosen, grid in _equal_grids(rois, pooling, features.shape[1]):
        samples = _sample(channels_last, rois[chosen], grid, pooling)
        best, where = samples.max(-1)
        values[chosen] = best
        rows[chosen] = (where // grid[1]).to(rows.dtype)
        columns[chosen] = (where % grid[1]).to(columns.dtype)
    return values, rows, columns


def _equal_grids(rois: Tensor, pooling: Pooling, channels: int) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Yield, in chunks, indices of regions with the same samples per bin, and that number; skip empty regions."""
    counts = pooling.samples(pooling.frame(rois)[1])
    grids, group = counts.unique(dim=0, return_inverse=True)
    for number, (down, across) in enumerate(grids.tolist()):
        if down * across == 0:
            continue
        each = down * across * pooling.bins[0] * pooling.bins[1] * channels
        for chosen in (group == number).nonzero()[:, 0].split(max(1, CHUNK // each)):
            yield chosen, (down, across)


def _sample(channels_last: Tensor, rois: Tensor, grid: tuple[int, int], pooling: Pooling) -> Tensor:
    """Bilinear samples: (B, H, W, C), regions (R, 5) -> (R, C, height, width, samples of a bin)."""
    low, step = pooling.frame(rois)
    height, width = channels_last.shape[1:3]
    y = _corners(_positions(low[:, 0], step[:, 0], pooling.bins[0], grid[0]), height)
    x = _corners(_positions(low[:, 1], step[:, 1], pooling.bins[1], grid[1]), width)
    image = rois[:, 0].long()[:, None, None]
    total = torch.zeros((), dtype=channels_last.dtype, device=channels_last.device)
    for row, row_weight in y:
        for column, column_weight in x:
            # (R, rows, 1, 1) and (R, 1, columns, 1)
            weight = row_weight[:, :, None, None] * column_weight[:, None, :, None]
            total = total + weight * channels_last[image, row[:, :, None], column[:, None, :]]
    # (R, bins down * samples, bins across * samples, C) -> (R, C, bins down, bins across, samples down * across)
    split = total.unflatten(2, (pooling.bins[1], grid[1])).unflatten(1, (pooling.bins[0], grid[0]))
    return split.permute(0, 5, 1, 3, 2, 4).flatten(-2)


def _positions(low: Tensor, step: Tensor, bins: int, samples: int) -> Tensor:
    """Sample coordinates along one axis: (R,), (R,) -> (R, bins * samples)."""
    bin_index = torch.arange(bins, device=low.device, dtype=low.dtype)[:, None]
    within = (torch.arange(samples, device=low.device, dtype=low.dtype) + 0.5) / samples
    return low[:, None] + step[:, None] * (bin_index + within).flatten()


def _corners(position: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """Two cells around each coordinate with their weights, both 0 if it is more than one cell outside the map."""
    inside = (position >= -1) & (position <= size)
    bounded = position.clamp(0, size - 1)
    cell = bounded.floor()
    fraction = bounded - cell
    cell = cell.long()
    return [(cell, (1 - fraction) * inside), ((cell + 1).clamp(max=size - 1), fraction * inside)]


def backward(
    gradient: Tensor, rois: Tensor, winners: tuple[Tensor, Tensor], shape: torch.Size, pooling: Pooling
) -> Tensor:
    """Gradient (R, C, height, width) of the maxima -> gradient (B, C, H, W) of the features."""
    low, step = pooling.frame(rois)
    samples = pooling.samples(step)
    rows = _winning(low[:, 0], step[:, 0], winners[0], samples[:, 0], dim=2)
    columns = _winning(low[:, 1], step[:, 1], winners[1], samples[:, 1], dim=3)
    image = rois[:, 0].long()[:, None, None, None].expand_as(gradient)
    channel = torch.arange(shape[1], device=gradient.device)[:, None, None].expand_as(gradient)
    result = gradient.new_zeros(shape)
    sampled = gradient * (winners[0] >= 0)
    for row, row_weight in _corners(rows, shape[2]):
        for column, column_weight in _corners(columns, shape[3]):
            result.index_put_((image, channel, row, column), sampled * row_weight * column_weight, accumulate=True)
    return result


def _winning(low: Tensor, step: Tensor, winner: Tensor, samples: Tensor, dim: int) -> Tensor:
    """Coordinate along one axis of the winning samples (R, C, height, width)."""
    number = torch.arange(winner.shape[dim], device=low.device, dtype=low.dtype)
    number = number[:, None] if dim == 2 else number
    # per region (R,) -> (R, 1, 1, 1)
    low, step, samples = (t[:, None, None, None] for t in (low, step, samples))
    within = (winner.to(low.dtype) + 0.5) / samples.clamp(min=1)
    return low + step * (number + within)
