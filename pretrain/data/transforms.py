"""The augmentation of MAE: a random resized crop and a random flip, on uint8.

Letters: H, W size of the image, h, w size of a crop.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Width over height of a crop, from the Inception recipe (arXiv 1409.4842) that MAE follows.
ASPECT_RATIOS = (3 / 4, 4 / 3)
ATTEMPTS = 10


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of a size given as one side or as both."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def draw_crop(
    size: tuple[int, int], area_scale: tuple[float, float], generator: torch.Generator | None = None
) -> tuple[int, int, int, int]:
    """Draw a box of random area and aspect ratio inside an image.

    Args:
        size: (H, W).
        area_scale: least and greatest share of the area.
        generator: source of randomness; None takes PyTorch's own.

    Returns:
        (top, left, h, w). If ten boxes in a row do not fit, this is the middle of the image, cut to the nearest
        allowed ratio.
    """
    height, width = size
    low, high = (math.log(ratio) for ratio in ASPECT_RATIOS)
    draws = torch.rand(ATTEMPTS, 4, generator=generator, dtype=torch.float64).tolist()
    for area_draw, ratio_draw, top_draw, left_draw in draws:
        area = height * width * (area_scale[0] + (area_scale[1] - area_scale[0]) * area_draw)
        ratio = math.exp(low + (high - low) * ratio_draw)
        h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < h <= height and 0 < w <= width:
            return int(top_draw * (height - h + 1)), int(left_draw * (width - w + 1)), h, w
    ratio = min(max(width / height, ASPECT_RATIOS[0]), ASPECT_RATIOS[1])
    h, w = min(height, round(width / ratio)), min(width, round(height * ratio))
    return (height - h) // 2, (width - w) // 2, h, w


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize bicubically with antialiasing, within one grey level of Pillow except for overshoots at hard edges.

    Args:
        image: uint8 (C, H, W); fastest with channels last in memory.
        size: (height, width) wanted.

    Returns:
        uint8 (C, *size).
    """
    return F.interpolate(image[None], size=size, mode='bicubic', antialias=True)[0]


def augment(
    image: Tensor,
    size: tuple[int, int],
    area_scale: tuple[float, float],
    generator: torch.Generator | None = None,
) -> Tensor:
    """Crop at random, resize the crop, and mirror it with probability one half.

    Args:
        image: uint8 (C, H, W).
        size: (height, width) wanted.
        area_scale: see `draw_crop`.
        generator: source of randomness; None takes PyTorch's own.

    Returns:
        uint8 (C, *size).
    """
    top, left, h, w = draw_crop((image.shape[1], image.shape[2]), area_scale, generator)
    crop = resize(image[:, top : top + h, left : left + w], size)
    return crop.flip(2) if torch.rand((), generator=generator) < 0.5 else crop
