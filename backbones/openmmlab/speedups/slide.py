"""Predict an image larger than the model's in overlapping windows, and average where they overlap.

Letters: B batch, C channels, K classes, H, W image in pixels, h, w window in pixels, N windows.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Size = tuple[int, int]


class Windows(NamedTuple):
    """Largest (height, width) of a window, and the step (down, across) from one to the next."""

    crop: Size
    stride: Size


class Box(NamedTuple):
    """Pixels of a window: from (top, left) to (bottom, right), exclusive."""

    top: int
    left: int
    bottom: int
    right: int


def window_starts(length: int, crop: int, stride: int) -> list[int]:
    """Start of each window along one axis; the last is moved back to end with the image.

    Raises:
        ValueError: the windows leave pixels out.
    """
    if not 1 <= stride <= max(crop, 1) and length > crop:
        raise ValueError(
            f'stride {stride} leaves gaps between windows of {crop} px: set test_cfg.stride to 1 .. {crop}'
        )
    room = max(length - crop, 0)
    return [min(start, room) for start in range(0, room + stride, stride)]


def window_boxes(size: Size, windows: Windows) -> list[Box]:
    """Boxes of the windows in an image (H, W), row by row; boxes are cut to an image smaller than a window."""
    tops, lefts = (window_starts(*axis) for axis in zip(size, windows.crop, windows.stride, strict=True))
    height, width = (min(pair) for pair in zip(size, windows.crop, strict=True))
    return [Box(top, left, top + height, left + width) for top in tops for left in lefts]


def window_counts(size: Size, windows: Windows, device: torch.device) -> Tensor:
    """Number of windows that cover each pixel: (H, W) float32."""
    axes = []
    for length, crop, stride in zip(size, windows.crop, windows.stride, strict=True):
        axis = torch.zeros(length, device=device)
        for start in window_starts(length, crop, stride):
            axis[start : start + crop] += 1
        axes.append(axis)
    return torch.outer(*axes)


def add_windows(total: Tensor, scores: Tensor, boxes: list[Box]) -> None:
    """Add the scores of some windows to those of the image.

    Args:
        total: (B, K, H, W), changed in place.
        scores: (N * B, K, h, w), starting with the B images of the first box.
        boxes: the N boxes.
    """
    for box, part in zip(boxes, scores.split(len(total)), strict=True):
        total[:, :, box.top : box.bottom, box.left : box.right] += part


def slide(predict: Callable[[Tensor], Tensor], images: Tensor, windows: Windows, window_batch: int = 1) -> Tensor:
    """Average the predictions of all windows at each pixel.

    Args:
        predict: maps crops (N * B, C, h, w) to scores (N * B, K, h, w).
        images: (B, C, H, W).
        windows: their size and stride.
        window_batch: number N of windows of each image to predict in one call; more use a GPU better and take more
            memory.

    Returns:
        scores (B, K, H, W) in the images' dtype.

    Raises:
        ValueError: the windows leave pixels out, or ``window_batch`` is below one.
    """
    if window_batch < 1:
        raise ValueError(f'window_batch {window_batch}: predict at least one window at a time')
    size = (images.shape[2], images.shape[3])
    boxes = window_boxes(size, windows)
    total = None
    for first in range(0, len(boxes), window_batch):
        chunk = boxes[first : first + window_batch]
        scores = predict(torch.cat([images[:, :, b.top : b.bottom, b.left : b.right] for b in chunk]))
        if total is None:
            total = images.new_zeros(len(images), scores.shape[1], *size)
        add_windows(total, scores, chunk)
    assert total is not None
    return total.div_(window_counts(size, windows, total.device))
