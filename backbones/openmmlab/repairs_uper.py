"""UPerHead's inference without the convolution of upsampled maps, most of its work."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbones.openmmlab.repairs_rebind import when_registered
from backbones.upsampled_conv import conv_of_upsampled

UPER_HEAD = 'mmseg.models.decode_heads.uper_head.UPerHead'


def is_plain(block: Any) -> bool:
    """Whether mmcv's ConvModule is a 3 x 3 convolution with zeros around, a norm or none, an activation or none."""
    conv = block.conv
    return (
        type(conv) is nn.Conv2d
        and (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
        and (conv.dilation, conv.groups, conv.padding_mode) == ((1, 1), 1, 'zeros')
        and not block.with_explicit_padding
        and tuple(block.order) == ('conv', 'norm', 'act')
    )


def fuse(block: Any, levels: Sequence[Tensor], align_corners: bool) -> Tensor:
    """What a ConvModule makes of maps brought to the size of the first and put side by side.

    Args:
        block: the module; `is_plain`.
        levels: maps (B, C, h, w) of falling size.
        align_corners: of the upsampling.
    """
    first, *rest = block.conv.weight.split([level.shape[1] for level in levels], dim=1)
    size = (levels[0].shape[2], levels[0].shape[3])
    total = F.conv2d(levels[0], first, block.conv.bias, padding=1)
    for level, weight in zip(levels[1:], rest, strict=True):
        total += conv_of_upsampled(level, weight, size, align_corners)
    total = block.norm(total) if block.with_norm else total
    return block.activate(total) if block.with_activation else total


def fpn_levels(head: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Top-down pyramid (Xiao et al., arXiv 1807.10221): each map plus the coarser one, then convolved."""
    maps = head._transform_inputs(inputs)
    coarser = head.psp_forward(maps)
    levels = [coarser]
    for fine, lateral, conv in list(zip(maps[:-1], head.lateral_convs, head.fpn_convs, strict=True))[::-1]:
        upsampled = F.interpolate(coarser, fine.shape[2:], mode='bilinear', align_corners=head.align_corners)
        coarser = lateral(fine) + upsampled
        levels.insert(0, conv(coarser))
    return levels


def _with_fusion(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """UPerHead's features, without upsampling them for the last convolution where no gradient is asked for."""

    @functools.wraps(forward)
    def forward_feature(self: Any, inputs: Sequence[Tensor]) -> Tensor:
        if self.training or torch.is_grad_enabled() or not is_plain(self.fpn_bottleneck):
            return forward(self, inputs)
        return fuse(self.fpn_bottleneck, fpn_levels(self, inputs), self.align_corners)

    return forward_feature


def _repair_head(head: type) -> None:
    head._forward_feature = _with_fusion(head._forward_feature)  # type: ignore[attr-defined]


def repair_upsampled_fusion() -> None:
    """Spare UPerHead's inference two fifths of UperNet's work at the same scores (no issue upstream).

    Its last convolution runs over four maps upsampled to the finest, and takes more than the ViT and all else.
    """
    when_registered(UPER_HEAD, _repair_head)
