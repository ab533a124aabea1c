"""A 3 x 3 convolution of an upsampled map, computed before upsampling.

Both are linear, so their order can be swapped: the nine taps are matrix products on the coarse map, which has 4 to 64
times fewer cells, and each product is upsampled and shifted to its place. The result is the same.

Letters: B batch, C channels in, O channels out, h, w coarse map, H, W fine map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = 3


def shifted_upsampling(coarse: int, fine: int, align_corners: bool, device: torch.device | str = 'cpu') -> Tensor:
    """Matrices (3, fine, coarse) float32 that upsample along one axis, then shift by each tap with zeros outside."""
    # (1, h, h, 1): cell i of channel i is one
    cells = torch.eye(coarse, device=device)[None, :, :, None]
    upsampling = F.interpolate(cells, (fine, 1), mode='bilinear', align_corners=align_corners)[0, :, :, 0].T
    padded = F.pad(upsampling, (0, 0, 1, 1))
    return torch.stack([padded[tap : tap + fine] for tap in range(TAPS)])


def conv_of_upsampled(maps: Tensor, weight: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Convolve a bilinearly upsampled map, padded with zeros.

    Args:
        maps: (B, C, h, w).
        weight: (O, C, 3, 3).
        size: (H, W) to upsample to.
        align_corners: as in `torch.nn.functional.interpolate`.

    Returns:
        (B, O, H, W), the same as ``conv2d(interpolate(maps, size, mode='bilinear'), weight, padding=1)``.
    """
    # (O, C, 3, 3) -> (9 O, C, 1, 1)
    taps = F.conv2d(maps, weight.permute(2, 3, 0, 1).flatten(0, 2)[..., None, None])
    # (B, 9 O, h, w) -> (B, tap down, tap across, O, h, w)
    taps = taps.unflatten(1, (TAPS, TAPS, len(weight)))
    down, across = (
        shifted_upsampling(coarse, fine, align_corners, maps.device).to(taps)
        for coarse, fine in zip(maps.shape[2:], size, strict=True)
    )
    wide = torch.einsum('bijohw,jxw->biohx', taps, across)
    return torch.einsum('biohx,iyh->boyx', wide, down)
