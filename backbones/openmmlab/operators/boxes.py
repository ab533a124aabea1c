"""Overlap of boxes, in place of the compiled function behind ``mmcv.ops.bbox_overlaps``."""

import torch
from torch import Tensor

from backbones.openmmlab.operators.common_dtype import at_least_float32


def bbox_overlaps(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int) -> None:
    """Write the overlaps of boxes into ``ious``.

    Args:
        bboxes1: (N, 4) as x1, y1, x2, y2.
        bboxes2: (M, 4); M = N if aligned.
        ious: receives (N, M), or (N,) if aligned.
        mode: divide by the union (0) or by the first box's area (1).
        aligned: compare box by box instead of all with all.
        offset: added to every width and height, 0 or 1.
    """
    first, second = at_least_float32(bboxes1, bboxes2)
    if not aligned:
        first = first[:, None]
    common = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    common = (common + offset).clamp(min=0).prod(-1)
    whole = (first[..., 2:] - first[..., :2] + offset).prod(-1)
    if mode == 0:
        whole = whole + (second[..., 2:] - second[..., :2] + offset).prod(-1) - common
    ious.copy_(common / whole)
