"""Masks as pure functions: draw them, look up the visible and the masked patches.

In every file a mask is a bool tensor (B, L), True = masked. It is drawn before the class token is prepended.
Letters: B batch, L patches, K visible patches.
"""

import torch
from torch import Tensor

from pretrain.masking.blocks import draw_blocks

MASK_KINDS = ('random', 'block', 'grid')


def masked_count(length: int, ratio: float) -> int:
    """Number of masked patches, ``round(L * ratio)``: in float64, truncation would keep 9 of 100 at ratio 0.9.

    Args:
        length: patches L.
        ratio: share to mask.

    Raises:
        ValueError: no patch would be masked, or none would stay visible.
    """
    masked = round(length * ratio)
    if not 0 < masked < length:
        raise ValueError(
            f'mask ratio {ratio} masks {masked} of {length} patches: choose a ratio (or an image size) that leaves '
            'at least one masked and one visible'
        )
    return masked


def random_mask(
    batch: int,
    length: int,
    ratio: float,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Mask ``masked_count(L, ratio)`` patches in each sample, drawn uniformly without replacement.

    Args:
        batch: samples B.
        length: patches L.
        ratio: share to mask.
        generator: source of randomness on ``device``; None takes PyTorch's own, set by ``torch.manual_seed``.
        device: where the mask is made.

    Returns:
        bool (B, L), True = masked.

    Raises:
        ValueError: see `masked_count`.
    """
    masked = masked_count(length, ratio)
    noise = torch.rand(batch, length, generator=generator, device=device)
    mask = torch.zeros(batch, length, dtype=torch.bool, device=device)
    return mask.scatter_(1, noise.argsort(dim=1)[:, :masked], True)


@torch.compiler.disable
def block_mask(batch: int, grid: tuple[int, int], ratio: float, generator: torch.Generator | None = None) -> Tensor:
    """Draw BEiT's block-wise masks, with exactly ``masked_count(L, ratio)`` patches each (BEiT's program: at most).

    Args:
        batch: samples B.
        grid: rows and columns (H, W).
        ratio: share to mask.
        generator: source of randomness on the CPU; None takes PyTorch's own.

    Returns:
        bool (B, L), True = masked, on the CPU; see `pretrain.masking.blocks.draw_blocks`.

    Raises:
        ValueError: see `masked_count`.
    """
    return draw_blocks(batch, grid, masked_count(grid[0] * grid[1], ratio), generator)


def grid_mask(batch: int, grid: tuple[int, int], ratio: float, generator: torch.Generator | None = None) -> Tensor:
    """Draw regular masks: MAE's grid-wise sampling, which at 75 % keeps one patch of every 2 x 2.

    The patches become visible in the order of Bayer's dither matrix, shifted by a random offset in each sample. A ratio
    of 50 % keeps a chequerboard, 75 % one patch of every 2 x 2, 93.75 % one of every 4 x 4, always at the same place.
    At other ratios the next coarser pattern is kept whole, and the remaining visible patches are spread evenly over
    the next finer pattern. The same holds where an odd H or W does not divide.

    Args:
        batch: samples B.
        grid: rows and columns (H, W).
        ratio: share to mask.
        generator: source of randomness on the CPU; None takes PyTorch's own.

    Returns:
        bool (B, L), True = masked, on the CPU.

    Raises:
        ValueError: see `masked_count`.
    """
    masked = masked_count(grid[0] * grid[1], ratio)
    bits = max(*grid, 2).bit_length()
    offset = torch.randint(0, 2**bits, (2, batch, 1, 1), generator=generator)
    rows, columns = torch.arange(grid[0])[:, None] + offset[0], torch.arange(grid[1]) + offset[1]
    order = torch.zeros(batch, *grid, dtype=torch.long)
    for bit in range(bits):
        # The lowest bits of the position weigh most, so that neighbours are far apart in the order.
        low_row, low_column = rows >> bit & 1, columns >> bit & 1
        order = order * 4 + 2 * (low_row ^ low_column) + low_row
    last = order.flatten(1).argsort(dim=1, descending=True)[:, :masked]
    return torch.zeros(batch, grid[0] * grid[1], dtype=torch.bool).scatter_(1, last, True)


def draw_mask(
    kind: str,
    batch: int,
    grid: tuple[int, int],
    ratio: float,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw masks of the kind that a config names.

    Args:
        kind: one of `MASK_KINDS`.
        batch: samples B.
        grid: rows and columns (H, W).
        ratio: share to mask.
        generator: source of randomness, on ``device`` for 'random', else on the CPU; None takes PyTorch's own.
        device: where the mask is needed; blocks and grids are made on the CPU and moved.

    Returns:
        bool (B, L), True = masked.

    Raises:
        ValueError: an unknown kind; see also `masked_count`.
    """
    if kind == 'random':
        return random_mask(batch, grid[0] * grid[1], ratio, generator, device)
    if kind == 'block':
        return block_mask(batch, grid, ratio, generator).to(device)
    if kind == 'grid':
        return grid_mask(batch, grid, ratio, generator).to(device)
    raise ValueError(f'mask kind {kind!r} is unknown: use one of {", ".join(MASK_KINDS)}')


def visible_count(mask: Tensor) -> int:
    """Number K of visible patches, which is the same in every sample; waits for the device.

    Args:
        mask: bool (B, L), True = masked.

    Raises:
        ValueError: the samples have different numbers, so they cannot form a batch.
    """
    counts = (~mask).sum(dim=1).unique().tolist()
    if len(counts) != 1:
        raise ValueError(f'every sample of a batch needs as many visible patches, this mask leaves {counts}')
    return counts[0]


def split_places(mask: Tensor, visible: int) -> tuple[Tensor, Tensor]:
    """Places of the visible and of the masked patches, each in ascending order.

    Args:
        mask: bool (B, L), True = masked.
        visible: number K of visible patches per sample; passed in so that the function need not wait for the device.

    Returns:
        int64 (B, K) and (B, L - K).
    """
    places = mask.to(torch.uint8).argsort(dim=1, stable=True)
    return places[:, :visible], places[:, visible:]
