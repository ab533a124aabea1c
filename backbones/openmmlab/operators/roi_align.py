"""RoI align, in place of the compiled functions behind ``mmcv.ops.roi_align`` (He et al., "Mask R-CNN", 2017).

Average pooling uses torchvision's kernel; maximum pooling, which torchvision lacks, is in ``roi_align_max``.

fp16 and bf16 are computed in float32 and rounded once. Compiled mmcv does not accept bf16, and in fp16 it rounds every
coordinate, weight and sum: its results are about a hundred times further from the exact ones than these.
"""

import torch
import torchvision  # noqa: F401  (registers the kernels)
from torch import Tensor

from backbones.openmmlab.operators import roi_align_max
from backbones.openmmlab.operators.common_dtype import at_least_float32
from backbones.openmmlab.operators.roi_align_max import Pooling

MAX_POOLING = 0


def roi_align_forward(
    features: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pool each region into a fixed grid of bins.

    Args:
        features: (B, C, H, W).
        rois: (R, 5) as image index, x1, y1, x2, y2 in image coordinates.
        output: receives (R, C, aligned_height, aligned_width).
        argmax_y: with maximum pooling, receives the row of the largest sample within its bin.
        argmax_x: with maximum pooling, receives the column of the largest sample within its bin.
        aligned_height: bins down.
        aligned_width: bins across.
        spatial_scale: feature cells per image pixel.
        sampling_ratio: samples per bin and direction; 0 means about one per feature cell.
        pool_mode: 0 maximum, 1 average.
        aligned: shift by half a cell, so that cell centres and pixel centres agree.
    """
    dense, regions = at_least_float32(features, rois)
    bins = (aligned_height, aligned_width)
    if pool_mode == MAX_POOLING:
        pooling = Pooling(bins, spatial_scale, sampling_ratio, aligned)
        values, rows, columns = roi_align_max.forward(dense, regions, pooling)
        argmax_y.copy_(rows)
        argmax_x.copy_(columns)
    else:
        values = torch.ops.torchvision.roi_align(dense, regions, spatial_scale, *bins, sampling_ratio, aligned)
    output.copy_(values)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of the features of `roi_align_forward` into ``grad_input`` (B, C, H, W)."""
    gradient, regions = at_least_float32(grad_output, rois)
    bins = (aligned_height, aligned_width)
    if pool_mode == MAX_POOLING:
        pooling = Pooling(bins, spatial_scale, sampling_ratio, aligned)
        winners = (argmax_y.long(), argmax_x.long())
        result = roi_align_max.backward(gradient, regions, winners, grad_input.shape, pooling)
    else:
        result = torch.ops.torchvision._roi_align_backward(
            gradient, regions, spatial_scale, *bins, *grad_input.shape, sampling_ratio, aligned
        )
    grad_input.copy_(result)
