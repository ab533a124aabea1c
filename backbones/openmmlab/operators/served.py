"""List the operators that replace mmcv's compiled ones."""

from collections.abc import Callable

import torch

from backbones.openmmlab.operators import (
    boxes,
    carafe,
    deform_conv,
    focal_loss,
    ms_deform_attn,
    nms,
    psa_mask,
    roi_align,
)


def get_compiler_version() -> str:
    """Shown by ``mmcv.utils.collect_env``."""
    return 'not compiled: operators of torchvision and torch'


def get_compiling_cuda_version() -> str:
    """Shown by ``mmcv.utils.collect_env``."""
    return torch.version.cuda or 'not available'


OPERATORS: dict[str, Callable] = {
    f.__name__: f
    for f in (
        get_compiler_version,
        get_compiling_cuda_version,
        nms.nms,
        nms.nms_match,
        nms.softnms,
        boxes.bbox_overlaps,
        roi_align.roi_align_forward,
        roi_align.roi_align_backward,
        focal_loss.sigmoid_focal_loss_forward,
        focal_loss.sigmoid_focal_loss_backward,
        focal_loss.softmax_focal_loss_forward,
        focal_loss.softmax_focal_loss_backward,
        deform_conv.deform_conv_forward,
        deform_conv.deform_conv_backward_input,
        deform_conv.deform_conv_backward_parameters,
        deform_conv.modulated_deform_conv_forward,
        deform_conv.modulated_deform_conv_backward,
        psa_mask.psamask_forward,
        psa_mask.psamask_backward,
        carafe.carafe_forward,
        carafe.carafe_backward,
        carafe.carafe_naive_forward,
        carafe.carafe_naive_backward,
        ms_deform_attn.ms_deform_attn_forward,
        ms_deform_attn.ms_deform_attn_backward,
    )
}
