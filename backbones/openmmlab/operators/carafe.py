"""Content-aware upsampling (Wang et al., "CARAFE", 2019), behind ``mmcv.ops.carafe`` and ``carafe_naive``.

Every output cell is a weighted sum over the neighbourhood of the input cell under it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from backbones.openmmlab.operators.common_dtype import at_least_float32

# batch n, group g, channel c, neighbour k, input row h, row within the cell a, input column w, column within the cell b
NEIGHBOURS, WEIGHTS, OUTPUT = 'ngckhw', 'ngkhawb', 'ngchawb'


def _neighbours(features: Tensor, kernel_size: int, groups: int) -> Tensor:
    """(B, C, H, W) -> (B, groups, C / groups, kernel_size ** 2, H, W), zeros outside."""
    columns = F.unfold(features, kernel_size, padding=kernel_size // 2)
    return columns.reshape(len(features), groups, -1, kernel_size**2, *features.shape[2:])


def _by_cell(upsampled: Tensor, groups: int, scale: int) -> Tensor:
    """(B, groups * X, H * scale, W * scale) -> (B, groups, X, H, scale, W, scale)."""
    batch, _, height, width = upsampled.shape
    return upsampled.reshape(batch, groups, -1, height // scale, scale, width // scale, scale)


def carafe_naive_forward(
    features: Tensor, masks: Tensor, output: Tensor, kernel_size: int, group_size: int, scale_factor: int
) -> None:
    """Upsample features with weights that differ by cell.

    Args:
        features: (B, C, H, W).
        masks: (B, group_size * kernel_size ** 2, H * scale_factor, W * scale_factor).
        output: receives (B, C, H * scale_factor, W * scale_factor).
        kernel_size: side of the neighbourhood.
        group_size: number of channel groups with their own weights.
        scale_factor: factor from the input's to the output's size.
    """
    wide, weights = at_least_float32(features, masks)
    neighbours = _neighbours(wide, kernel_size, group_size)
    result = torch.einsum(f'{NEIGHBOURS},{WEIGHTS}->{OUTPUT}', neighbours, _by_cell(weights, group_size, scale_factor))
    output.copy_(result.reshape(output.shape))


def carafe_naive_backward(
    grad_output: Tensor,
    features: Tensor,
    masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Write the gradients of features and masks into ``grad_input`` and ``grad_masks``."""
    gradient, wide, weights = at_least_float32(grad_output, features, masks)
    gradient = _by_cell(gradient, group_size, scale_factor)
    weights = _by_cell(weights, group_size, scale_factor)
    of_masks = torch.einsum(f'{OUTPUT},{NEIGHBOURS}->{WEIGHTS}', gradient, _neighbours(wide, kernel_size, group_size))
    grad_masks.copy_(of_masks.reshape(masks.shape))
    columns = torch.einsum(f'{OUTPUT},{WEIGHTS}->{NEIGHBOURS}', gradient, weights)
    # (B, groups, C / groups, kernel cells, H, W) -> (B, C * kernel cells, H * W)
    columns = columns.flatten(1, 3).flatten(2)
    grad_input.copy_(F.fold(columns, features.shape[2:], kernel_size, padding=kernel_size // 2))


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Do `carafe_naive_forward`, and copy the features to ``rfeatures``, which mmcv passes to the backward instead."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Do `carafe_naive_backward`."""
    carafe_naive_backward(grad_output, rfeatures, masks, grad_input, grad_masks, kernel_size, group_size, scale_factor)
