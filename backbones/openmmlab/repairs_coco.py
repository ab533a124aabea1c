"""COCO evaluation in C++ where mmdet takes pycocotools' Python loops."""

import importlib.util
import os
import sys

from backbones.openmmlab.repairs_rebind import when_registered

COCO_METRIC = 'mmdet.evaluation.metrics.coco_metric.CocoMetric'
# 'pycocotools' keeps mmdet's own evaluation.
SWITCH = 'DENSE_MAE_COCO_EVAL'
CHOICES = ('', 'fast', 'pycocotools')


def fast_wanted() -> bool:
    """Whether faster-coco-eval is installed and not switched off by ``DENSE_MAE_COCO_EVAL=pycocotools``.

    Raises:
        ValueError: the variable holds something else, or asks for what is not installed.
    """
    choice = os.environ.get(SWITCH, '')
    if choice not in CHOICES:
        raise ValueError(f'{SWITCH}={choice}: choose fast or pycocotools')
    installed = importlib.util.find_spec('faster_coco_eval') is not None
    if choice == 'fast' and not installed:
        raise ValueError(f'{SWITCH}=fast: pip install faster-coco-eval')
    return installed and choice != 'pycocotools'


def _repair_metric(metric: type) -> None:
    if fast_wanted():
        from backbones.openmmlab.coco_eval import FastCOCOeval

        sys.modules[metric.__module__].COCOeval = FastCOCOeval  # type: ignore[attr-defined]


def repair_slow_coco_eval() -> None:
    """Match detections with objects in C++ (mmdet#11776): minutes of Python otherwise on COCO's 5,000 images.

    Boxes, masks and proposals; the annotations stay in pycocotools' hands, and so do ``use_mp_eval`` and
    ``proposal_fast``.
    """
    when_registered(COCO_METRIC, _repair_metric)
