"""Multi-scale deformable attention on GPUs through mmcv's own PyTorch code, which mmcv uses for CPUs only."""

import torch
from torch import Tensor

from backbones.openmmlab.operators.common_dtype import at_least_float32


def _attend(value: Tensor, spatial_shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    # Imported late, since mmcv.ops itself imports the module that holds this function.
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch(value, spatial_shapes, locations, weights)


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Sum weighted samples of all levels (Zhu et al., "Deformable DETR", 2021).

    Args:
        value: (B, cells of all levels, heads, D).
        spatial_shapes: (levels, 2) as height, width.
        level_start_index: unused.
        sampling_locations: (B, Q, heads, levels, points, 2) as x, y from 0 to 1.
        attention_weights: (B, Q, heads, levels, points).
        im2col_step: unused.

    Returns:
        (B, Q, heads * D).
    """
    wide, locations, weights = at_least_float32(value, sampling_locations, attention_weights)
    return _attend(wide, spatial_shapes, locations, weights).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients of `ms_deform_attn_forward` into the ``grad_*`` of value, locations and weights."""
    gradient, *wide = at_least_float32(grad_output, value, sampling_locations, attention_weights)
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in wide]
        output = _attend(leaves[0], spatial_shapes, *leaves[1:])
    for receiver, result in zip(
        (grad_value, grad_sampling_loc, grad_attn_weight), torch.autograd.grad(output, leaves, gradient), strict=True
    ):
        receiver.copy_(result)
