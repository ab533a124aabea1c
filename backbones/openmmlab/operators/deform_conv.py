"""Deformable convolutions on torchvision's kernel, behind ``mmcv.ops.deform_conv2d`` and its modulated version.

v1: Dai et al., "Deformable Convolutional Networks", 2017; v2 adds a mask: Zhu et al., 2018. The functions take mmcv's
arguments under mmcv's names, and ignore its scratch buffers.
"""

from dataclasses import dataclass

import torch
import torchvision  # noqa: F401  (registers the kernels)
from torch import Tensor

from backbones.openmmlab.operators.common_dtype import at_least_float32


@dataclass(frozen=True)
class Geometry:
    """Stride, padding and dilation as (height, width), number of channel groups and of groups that share offsets."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    offset_groups: int

    def arguments(self, modulated: bool) -> tuple[int | bool, ...]:
        """Last arguments of torchvision's kernels."""
        return (*self.stride, *self.padding, *self.dilation, self.groups, self.offset_groups, modulated)


def _geometry_v1(sizes: dict[str, int]) -> Geometry:
    """Read mmcv's arguments of ``deform_conv_*``."""
    return Geometry(
        stride=(sizes['dH'], sizes['dW']),
        padding=(sizes['padH'], sizes['padW']),
        dilation=(sizes['dilationH'], sizes['dilationW']),
        groups=sizes['group'],
        offset_groups=sizes['deformable_group'],
    )


def _geometry_v2(sizes: dict[str, int]) -> Geometry:
    """Read mmcv's arguments of ``modulated_deform_conv_*``."""
    return Geometry(
        stride=(sizes['stride_h'], sizes['stride_w']),
        padding=(sizes['pad_h'], sizes['pad_w']),
        dilation=(sizes['dilation_h'], sizes['dilation_w']),
        groups=sizes['group'],
        offset_groups=sizes['deformable_group'],
    )


def _no_mask_no_bias(images: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mask and bias that torchvision's kernels need where there are none."""
    return images.new_zeros(len(images), 1), images.new_zeros(len(weight))


def deform_conv_forward(
    images: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor, **sizes: int
) -> None:
    """Convolve samples at shifted places.

    Args:
        images: (B, C, H, W).
        weight: (O, C / groups, kernel height, kernel width).
        offset: (B, offset groups * kernel cells * 2, H', W'), y before x.
        output: receives (B, O, H', W').
        columns: unused.
        ones: unused.
        sizes: stride, padding, dilation and groups under mmcv's names.
    """
    images, weight, offset = at_least_float32(images, weight, offset)
    mask, bias = _no_mask_no_bias(images, weight)
    tail = _geometry_v1(sizes).arguments(modulated=False)
    output.copy_(torch.ops.torchvision.deform_conv2d(images, weight, offset, mask, bias, *tail))


def deform_conv_backward_input(
    images: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **sizes: int,
) -> None:
    """Write the gradients of images and offsets into ``grad_input`` and ``grad_offset``."""
    gradients = _backward_v1(grad_output, images, weight, offset, _geometry_v1(sizes))
    grad_input.copy_(gradients[0])
    grad_offset.copy_(gradients[2])


def deform_conv_backward_parameters(
    images: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **sizes: int,
) -> None:
    """Add the scaled gradient of the weight to ``grad_weight``."""
    gradients = _backward_v1(grad_output, images, grad_weight, offset, _geometry_v1(sizes))
    grad_weight.add_(gradients[1].to(grad_weight.dtype), alpha=scale)


def _backward_v1(
    grad_output: Tensor, images: Tensor, weight: Tensor, offset: Tensor, geometry: Geometry
) -> tuple[Tensor, ...]:
    grad_output, images, weight, offset = at_least_float32(grad_output, images, weight, offset)
    mask, bias = _no_mask_no_bias(images, weight)
    tensors = (grad_output, images, weight, offset, mask, bias)
    return _backward(tensors, geometry, modulated=False)


def _backward(tensors: tuple[Tensor, ...], geometry: Geometry, modulated: bool) -> tuple[Tensor, ...]:
    """Compute the gradients of images, weight, offset, mask and bias.

    At exactly one cell outside the map, torchvision takes the derivative from inside and compiled mmcv takes zero. This
    matters because layers start with zero offsets, which put the padded border exactly there.
    """
    weight, offset = tensors[2:4]
    gradients = list(torch.ops.torchvision._deform_conv2d_backward(*tensors, *geometry.arguments(modulated)))
    outside = (_positions(offset, weight.shape[2:], geometry) <= -1).any(3, keepdim=True)
    # (B, offset groups, kernel cells, 1, H', W') over y and x -> (B, offset groups * kernel cells * 2, H', W')
    gradients[2] = gradients[2].masked_fill(outside.expand(-1, -1, -1, 2, -1, -1).reshape(offset.shape), 0)
    return tuple(gradients)


def _positions(offset: Tensor, kernel: torch.Size, geometry: Geometry) -> Tensor:
    """Positions of the samples: (B, offset groups, kernel cells, 2, H', W'), y before x."""
    axes = []
    for axis, (size, length) in enumerate(zip(kernel, offset.shape[2:], strict=True)):
        start = torch.arange(length, device=offset.device) * geometry.stride[axis] - geometry.padding[axis]
        cell = torch.arange(size, device=offset.device) * geometry.dilation[axis]
        axes.append(cell[:, None] + start)
    # (kernel height, H') and (kernel width, W') -> (kernel height, kernel width, H', W') each
    y = axes[0][:, None, :, None].expand(-1, kernel[1], -1, offset.shape[3])
    x = axes[1][None, :, None, :].expand(kernel[0], -1, offset.shape[2], -1)
    regular = torch.stack([y, x], 2).flatten(0, 1)
    return regular + offset.unflatten(1, (geometry.offset_groups, *regular.shape[:2]))


def modulated_deform_conv_forward(
    images: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    with_bias: bool,
    **sizes: int,
) -> None:
    """Convolve weighted samples at shifted places.

    This is `deform_conv_forward` with ``mask`` (B, offset groups * kernel cells, H', W') and, if ``with_bias``,
    ``bias`` (O,).
    """
    images, weight, bias, offset, mask = at_least_float32(images, weight, bias, offset, mask)
    bias = bias if with_bias else _no_mask_no_bias(images, weight)[1]
    tail = _geometry_v2(sizes).arguments(modulated=True)
    output.copy_(torch.ops.torchvision.deform_conv2d(images, weight, offset, mask, bias, *tail))


def modulated_deform_conv_backward(
    images: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    with_bias: bool,
    **sizes: int,
) -> None:
    """Write the gradients of `modulated_deform_conv_forward` into the ``grad_*`` of its five inputs."""
    tensors = at_least_float32(grad_output, images, weight, offset, mask, bias)
    if not with_bias:
        tensors = (*tensors[:5], _no_mask_no_bias(*tensors[1:3])[1])
    gradients = _backward(tensors, _geometry_v2(sizes), modulated=True)
    receivers = (grad_input, grad_weight, grad_offset, grad_mask, grad_bias)
    for receiver, gradient in zip(receivers, gradients, strict=True):
        if receiver.numel():
            receiver.copy_(gradient)
