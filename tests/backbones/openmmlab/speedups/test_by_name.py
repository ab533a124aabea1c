"""Faster classes under names of their own; those of mmdet and mmseg are as they were written."""

import copy
import io
import pickle
import sys

import mmdet.evaluation.metrics.coco_metric as coco_metric
import mmseg.models.decode_heads.uper_head as uper_head
import mmseg.models.segmentors.encoder_decoder as encoder_decoder
import pytest
import torch
from mmdet.datasets.api_wrappers import COCOeval
from mmdet.registry import METRICS
from mmengine.registry import DefaultScope, Registry
from mmseg.registry import MODELS

from backbones.openmmlab.speedups import by_name
from tests.backbones.openmmlab.tiny import run_python

HEAD = dict(type='FastUPerHead', in_channels=[6, 8], in_index=[0, 1], channels=4, num_classes=3, align_corners=False)


def built(cfg):
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(cfg)


UPSTREAM = {
    uper_head.UPerHead: '_forward_feature',
    encoder_decoder.EncoderDecoder: 'slide_inference',
    coco_metric.CocoMetric: 'compute_metrics',
}


@pytest.mark.parametrize(('kind', 'method'), UPSTREAM.items(), ids=lambda value: getattr(value, '__name__', value))
def test_upstream__is_as_it_was_written(kind, method):
    function = vars(kind)[method]
    assert function.__code__.co_filename == sys.modules[kind.__module__].__file__
    assert not hasattr(function, '__wrapped__')


def test_upstream__evaluates_with_pycocotools():
    assert coco_metric.COCOeval is COCOeval
    assert COCOeval.__module__ == 'pycocotools.cocoeval'


def test_registry__is_as_it_was_written():
    for function in (Registry._register_module, Registry.get, Registry.build):
        assert function.__code__.co_filename == sys.modules[Registry.__module__].__file__


def test_names__build_a_subclass_of_theirs():
    head = built(HEAD)
    assert type(head) is by_name.FastUPerHead and isinstance(head, uper_head.UPerHead)
    assert issubclass(by_name.FastEncoderDecoder, encoder_decoder.EncoderDecoder)
    assert isinstance(METRICS.build(dict(type='FastCocoMetric', metric='bbox')), coco_metric.CocoMetric)
    with pytest.raises(AttributeError, match='FastHead'):
        by_name.FastHead  # noqa: B018


def test_names__survive_pickle_and_copy():
    head = built(HEAD)
    for again in (pickle.loads(pickle.dumps(head)), copy.deepcopy(head)):
        assert type(again) is type(head)
        assert torch.equal(again.conv_seg.weight, head.conv_seg.weight)
    buffer = io.BytesIO()
    torch.save(head, buffer)
    buffer.seek(0)
    assert type(torch.load(buffer, weights_only=False)) is by_name.FastUPerHead


def test_names__unknown_setting_is_named():
    with pytest.raises(TypeError, match='chanels'):
        built({**HEAD, 'chanels': 4})


def test_import__brings_neither_package():
    status, output = run_python(
        'import sys, backbones\nfrom mmengine.registry import METRICS, MODELS\n'
        'print("FastUPerHead" in MODELS, "FastCocoMetric" in METRICS, "ClassIoUMetric" in METRICS)\n'
        'print("mmdet" in sys.modules, "mmseg" in sys.modules)'
    )
    assert (status, output.strip().splitlines()[-2:]) == (0, ['True True True', 'False False'])
