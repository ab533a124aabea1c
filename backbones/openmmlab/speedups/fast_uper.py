"""UPerHead's inference without its largest cost, the convolution of upsampled maps."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from backbones.openmmlab.speedups.upsampled_conv import conv_of_upsampled


class FastFusion:
    """mmseg's UPerHead with the same scores, saving two fifths of UperNet's inference work.

    UPerHead's last convolution runs over four maps upsampled to the finest, and costs more than the ViT and all else.
    mmseg's own code runs if gradients are needed, a graph is recorded, or something is hooked to that convolution.
    """

    training: bool
    fpn_bottleneck: Any
    align_corners: bool

    def _forward_feature(self, inputs: Sequence[Tensor]) -> Tensor:
        upstream: Any = super()
        if self.training or torch.is_grad_enabled() or is_recorded() or not is_plain(self.fpn_bottleneck):
            return upstream._forward_feature(inputs)
        return fuse(self.fpn_bottleneck, fpn_levels(self, inputs), self.align_corners)


def is_recorded() -> bool:
    """Whether torch.compile, torch.export, jit.trace or the ONNX exporter is recording."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export()


def is_watched(part: nn.Module) -> bool:
    """Whether calling a module does more than its class says: by hooks, a wrapped forward or a compiled version.

    Old-style weight norm, spectral norm and pruning compute the weight in such a hook; new-style parametrisations
    change the class.
    """
    hooks = ('_forward_hooks', '_forward_pre_hooks')
    return (
        any(getattr(part, name) for name in hooks)
        or any(getattr(torch_module, f'_global{name}', None) for name in hooks)
        or 'forward' in vars(part)
        or getattr(part, '_compiled_call_impl', None) is not None
    )


def is_plain(block: Any) -> bool:
    """Whether mmcv's ConvModule is a zero-padded 3 x 3 convolution, optionally with a norm and an activation.

    It must have no hooks, since they would not be called.
    """
    conv = block.conv
    return (
        type(block).__module__.startswith('mmcv.')
        and type(conv) is nn.Conv2d
        and not is_watched(block)
        and not is_watched(conv)
        and (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
        and (conv.dilation, conv.groups, conv.padding_mode) == ((1, 1), 1, 'zeros')
        and not block.with_explicit_padding
        and tuple(block.order) == ('conv', 'norm', 'act')
    )


def fuse(block: Any, levels: Sequence[Tensor], align_corners: bool) -> Tensor:
    """Apply a ConvModule to maps that are resized to the first map's size and concatenated.

    Args:
        block: the module, for which `is_plain` holds.
        levels: maps (B, C, h, w), the largest first.
        align_corners: option of the upsampling.
    """
    first, *rest = block.conv.weight.split([level.shape[1] for level in levels], dim=1)
    size = (levels[0].shape[2], levels[0].shape[3])
    total = F.conv2d(levels[0], first, block.conv.bias, padding=1)
    for level, weight in zip(levels[1:], rest, strict=True):
        total += conv_of_upsampled(level, weight, size, align_corners)
    total = block.norm(total) if block.with_norm else total
    return block.activate(total) if block.with_activation else total


def fpn_levels(head: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Top-down pyramid (Xiao et al., arXiv 1807.10221): add the coarser map to each map, then convolve."""
    maps = head._transform_inputs(inputs)
    coarser = head.psp_forward(maps)
    levels = [coarser]
    for fine, lateral, conv in list(zip(maps[:-1], head.lateral_convs, head.fpn_convs, strict=True))[::-1]:
        upsampled = F.interpolate(coarser, fine.shape[2:], mode='bilinear', align_corners=head.align_corners)
        coarser = lateral(fine) + upsampled
        levels.insert(0, conv(coarser))
    return levels
