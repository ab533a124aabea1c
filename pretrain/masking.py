"""Masks as pure functions: draw, look up the visible patches, gather them.

A mask is a bool tensor (B, L), True = masked, in every file. It is drawn before the class token is put in front.
Letters: B batch, L patches, K visible patches, D width.
"""

import torch
from torch import Tensor


def masked_count(length: int, ratio: float) -> int:
    """Number of masked patches, ``round(L * ratio)``: truncation would keep 9 of 100 at ratio 0.9 in float64.

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
    """Draw, for each sample on its own, ``masked_count(L, ratio)`` patches uniformly without replacement.

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


def visible_count(mask: Tensor) -> int:
    """Number K of visible patches, the same in every sample; waits for the device.

    Args:
        mask: bool (B, L), True = masked.

    Raises:
        ValueError: the samples differ in it, so they cannot form a batch.
    """
    counts = (~mask).sum(dim=1).unique().tolist()
    if len(counts) != 1:
        raise ValueError(f'every sample of a batch needs as many visible patches, this mask leaves {counts}')
    return counts[0]


def split_places(mask: Tensor, visible: int) -> tuple[Tensor, Tensor]:
    """Places of the visible and of the masked patches, each in their order.

    Args:
        mask: bool (B, L), True = masked.
        visible: number K of visible patches per sample; given, so that no device has to be waited for.

    Returns:
        int64 (B, K) and (B, L - K).
    """
    places = mask.to(torch.uint8).argsort(dim=1, stable=True)
    return places[:, :visible], places[:, visible:]


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Pick the tokens (B, L, D) at the places ``index`` (B, K): (B, K, D)."""
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))
