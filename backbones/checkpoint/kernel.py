"""Convert a patch projection to another patch size or other image channels.

Letters: D width, C channels, p patch side, q new patch side.
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Channels: TypeAlias = str | Sequence[int | None] | None


def fit_kernel(kernel: Tensor, shape: Sequence[int], channels: Channels) -> Tensor | None:
    """Convert a kernel (D, C, p, p) to a model's ``shape`` (D, C', q, q).

    Returns:
        the new kernel, or the same object if nothing changes; None if the width differs, the kernel is not square (as
        in files with channels last), or the channels differ and ``channels`` is None.

    Raises:
        ValueError: see `spread_channels`.
    """
    if kernel.ndim != 4 or kernel.shape[0] != shape[0] or kernel.shape[2] != kernel.shape[3]:
        return None
    if kernel.shape[1] != shape[1] or (channels is not None and not isinstance(channels, str)):
        if channels is None:
            return None
        kernel = spread_channels(kernel, shape[1], channels)
    if kernel.shape[2:] != tuple(shape[2:]):
        kernel = resize_kernel(kernel, shape[2])
    return kernel


def resize_kernel(kernel: Tensor, patch_size: int) -> Tensor:
    """Resize so that a patch and its resized copy give the same token (FlexiViT, arXiv 2212.08013, equation 4).

    If R is the (bicubic, antialiased) resizing of patches, the new kernel is ``pinv(R^T)`` times the old one. This is
    exact for larger patches and the least-squares solution for smaller ones.

    Args:
        kernel: (D, C, p, p).
        patch_size: new side q.

    Returns:
        (D, C, q, q) in the kernel's dtype.
    """
    side = kernel.shape[2]
    units = torch.eye(side * side).reshape(side * side, 1, side, side)
    resized = F.interpolate(units, size=(patch_size, patch_size), mode='bicubic', antialias=True)
    # (p p, 1, q, q) -> R^T (p p, q q), inverse (q q, p p); double precision keeps the inverse accurate
    inverse = torch.linalg.pinv(resized.flatten(1).double())
    # (D, C, p, p) -> (D, C, p p) -> (D, C, q q) -> (D, C, q, q)
    weights = kernel.flatten(2).double() @ inverse.t()
    return weights.reshape(*kernel.shape[:2], patch_size, patch_size).to(kernel.dtype)


def spread_channels(kernel: Tensor, count: int, channels: str | Sequence[int | None]) -> Tensor:
    """Make a kernel for ``count`` image channels.

    Args:
        kernel: (D, C, p, p).
        count: channels C' of the model.
        channels: ``'mean'`` gives each channel the mean kernel times C / C', so that an image with equal channels keeps
            its response; ``'copy'`` repeats the kernels in turn, unscaled; a sequence names, for each channel of the
            model, the file's channel to copy, or None to start at zero.

    Returns:
        (D, C', p, p).

    Raises:
        ValueError: ``channels`` is none of these.
    """
    old = kernel.shape[1]
    if channels == 'mean':
        return kernel.float().mean(1, keepdim=True).mul(old / count).to(kernel.dtype).repeat(1, count, 1, 1)
    bands = [index % old for index in range(count)] if channels == 'copy' else channels
    if isinstance(bands, str) or len(bands) != count or any(b is not None and not 0 <= b < old for b in bands):
        raise ValueError(
            f"channels={channels!r} does not say what {count} channels take from the file's {old}: use 'mean', 'copy' "
            f'or {count} entries out of 0..{old - 1} and None'
        )
    empty = torch.zeros_like(kernel[:, 0])
    return torch.stack([empty if band is None else kernel[:, band] for band in bands], dim=1)
