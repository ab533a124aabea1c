"""The module put in place of ``mmcv._ext``, the compiled operators that mmcv-lite does not have."""

import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

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

NAME = 'mmcv._ext'


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


class StandIn(ModuleType):
    """Has every operator mmcv may ask for while it is imported; those not served raise when called."""

    def __init__(self) -> None:
        super().__init__(NAME, 'Operators of mmcv on torchvision and torch.')
        # No loader: whoever asks whether a compiled mmcv is there gets the true answer.
        self.__spec__ = ModuleSpec(NAME, loader=None)
        self.__dict__.update(OPERATORS)

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith('__'):
            raise AttributeError(name)
        return missing(name)


def missing(name: str) -> Callable[..., NoReturn]:
    """A function that says what to do about an operator that is not served."""

    def operator(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f'the mmcv operator {name!r} needs a compiled mmcv. Install one in place of mmcv-lite: '
            '`pip uninstall mmcv-lite && pip install --no-build-isolation "mmcv>=2.1"` builds it and needs a C++ '
            'compiler, and nvcc for CUDA.'
        )

    operator.__name__ = name
    return operator


def install() -> bool:
    """Put the stand-in where mmcv looks for its operators, unless compiled ones are there.

    Returns:
        whether it is there now.

    Raises:
        ModuleNotFoundError: if there is no mmcv at all.
    """
    if isinstance(sys.modules.get(NAME), StandIn):
        return True
    if NAME in sys.modules or importlib.util.find_spec(NAME) is not None:
        return False
    sys.modules[NAME] = StandIn()
    return True
