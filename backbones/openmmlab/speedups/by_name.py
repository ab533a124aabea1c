"""Register faster or extended versions of classes of mmdet and mmseg, which configs choose by name.

``type='FastUPerHead'`` builds a subclass of mmseg's UPerHead. The original classes stay as they are, and neither
package is imported before one of the names is used.
"""

import functools
import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

from mmengine.registry import METRICS, MODELS, Registry

from backbones.openmmlab.speedups.class_iou import ClassFigures
from backbones.openmmlab.speedups.fast_coco import FastEvaluation
from backbones.openmmlab.speedups.fast_slide import FastWindows
from backbones.openmmlab.speedups.fast_uper import FastFusion


class Form(NamedTuple):
    """A mixin, the path of the class that it extends, and the registry for both."""

    registry: Registry
    body: type
    base: str


FORMS = {
    'FastUPerHead': Form(MODELS, FastFusion, 'mmseg.models.decode_heads.uper_head.UPerHead'),
    'FastEncoderDecoder': Form(MODELS, FastWindows, 'mmseg.models.segmentors.encoder_decoder.EncoderDecoder'),
    'ClassIoUMetric': Form(METRICS, ClassFigures, 'mmseg.evaluation.metrics.iou_metric.IoUMetric'),
    'FastCocoMetric': Form(METRICS, FastEvaluation, 'mmdet.evaluation.metrics.coco_metric.CocoMetric'),
}


@functools.cache
def class_of(name: str) -> type:
    """Make the class of this name, importing the package of its base."""
    body, (module, _, base) = FORMS[name].body, FORMS[name].base.rpartition('.')
    parent = getattr(importlib.import_module(module), base)
    return type(name, (body, parent), {'__module__': __name__, '__doc__': body.__doc__})


# Pickled models find their class here. Hidden from type checkers, which would believe that every name exists.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> type:
        if name not in FORMS:
            raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
        return class_of(name)


def _builder(name: str) -> Any:
    def build(**settings: Any) -> Any:
        return class_of(name)(**settings)

    build.__name__ = name
    return build


for _name, _form in FORMS.items():
    _form.registry.register_module(name=_name, module=_builder(_name))
