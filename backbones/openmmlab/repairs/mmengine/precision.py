"""Reduced precision: keep coordinates and predictions in float32, and let mmengine's wrapper work on CPUs."""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import mmengine.optim.optimizer.amp_optimizer_wrapper as amp
import torch
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from backbones.openmmlab.repairs.rebind import when_imported

REDUCED = (torch.bfloat16, torch.float16)
ROI_EXTRACTOR = 'mmdet.models.roi_heads.roi_extractors.single_level_roi_extractor.SingleRoIExtractor'


def _without_accelerator() -> bool:
    return not torch.cuda.is_available() and get_device() == 'cpu'


def repair_amp_on_cpu() -> bool:
    """Let `AmpOptimWrapper` train on CPU (mmpretrain#1556), where torch offers bfloat16 without loss scaling.

    For other devices mmengine still decides, even for those that appear later.
    """
    if not _without_accelerator():
        return False
    asks, scaler = amp.is_cuda_available, amp.GradScaler

    @functools.wraps(asks)
    def is_available() -> bool:
        return asks() or _without_accelerator()

    @functools.wraps(scaler)
    def make_scaler(*args: Any, **kwargs: Any) -> Any:
        if _without_accelerator():
            return torch.amp.GradScaler('cpu', enabled=False)
        return scaler(*args, **kwargs)

    # Only the wrapper's constructor calls them.
    amp.is_cuda_available, amp.GradScaler = is_available, make_scaler
    return True


def _with_float32_rois(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make an RoI extractor's forward work in float32 and return its features' dtype."""

    @functools.wraps(forward)
    def float32_forward(self: nn.Module, feats: Sequence[Tensor], rois: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if feats[0].dtype not in REDUCED:
            return forward(self, feats, rois, *args, **kwargs)
        return forward(self, [f.float() for f in feats], rois.float(), *args, **kwargs).to(feats[0].dtype)

    return float32_forward


def _repair_extractor(extractor: type) -> bool:
    casts = 'type_as' in extractor.forward.__code__.co_names  # type: ignore[attr-defined]
    if casts:
        extractor.forward = _with_float32_rois(extractor.forward)  # type: ignore[attr-defined]
    return casts


def repair_rounded_rois() -> bool:
    """Keep RoIs in float32 under autocast (mmcv#2878, mmcv#3061).

    mmdet casts them to the features' type: a bfloat16 coordinate near 1000 is off by up to 4 pixels, and some RoIs
    change their pyramid level. The repair waits until mmdet has defined the extractor, so it need not import mmdet.
    """
    return when_imported(ROI_EXTRACTOR, _repair_extractor)


def full_precision(value: Any) -> Any:
    """Cast the bfloat16 tensors in lists, tuples, dicts and data elements (in place) to float32.

    A container without such tensors is returned itself, not as a copy.
    """
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.bfloat16 else value
    if isinstance(value, BaseDataElement):
        for name, field in value.items():
            full = full_precision(field)
            if full is not field:
                setattr(value, name, full)
        return value
    if isinstance(value, dict):
        return _changed(value, {key: full_precision(item) for key, item in value.items()})
    if type(value) in (list, tuple):
        items = [full_precision(item) for item in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else type(value)(items)
    return value


def _changed(value: dict, items: dict) -> dict:
    """Copy a dict, keeping its type, with new items; the dict itself if they are the same."""
    if all(items[key] is value[key] for key in value):
        return value
    changed = copy.copy(value)
    changed.update(items)
    return changed


def repair_reduced_predictions() -> bool:
    """Pass predictions to metrics and visualisers in a dtype that numpy has (pytorch#110285).

    With ``val_cfg = dict(fp16=True)``, predictions on CPUs are bfloat16, and metrics convert them to numpy.
    """
    for name in ('val_step', 'test_step'):
        setattr(BaseModel, name, _with_full_precision(getattr(BaseModel, name)))
    return True


def _with_full_precision(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def full_step(self: BaseModel, *args: Any, **kwargs: Any) -> Any:
        return full_precision(step(self, *args, **kwargs))

    return full_step
