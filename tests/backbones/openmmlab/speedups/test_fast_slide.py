"""Sliding-window inference of mmseg's segmentors against mmseg's own (float32, <= 1e-5)."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules

from tests.helpers import fake_cuda, randomise, relative_error

BN = dict(type='BN')
CASES = [((75, 118), (32, 48), (21, 31)), ((40, 90), (64, 64), (43, 43)), ((30, 20), (64, 64), (43, 43))]


def segmentor(crop, stride, **test_cfg):
    register_all_modules(init_default_scope=True)
    vit = dict(type='PlainViT', variant=dict(embed_dim=32, depth=2, num_heads=2), img_size=64, out_indices=[0, 1, 1, 1])
    head = dict(
        type='UPerHead',
        in_channels=[32] * 4,
        in_index=[0, 1, 2, 3],
        channels=16,
        num_classes=7,
        norm_cfg=BN,
        align_corners=False,
    )
    settings = ConfigDict(mode='slide', crop_size=crop, stride=stride, **test_cfg)
    neck = dict(type='DeconvPyramid', in_channels=32, norm='bn')
    model = MODELS.build(dict(type='FastEncoderDecoder', backbone=vit, neck=neck, decode_head=head, test_cfg=settings))
    return randomise(model).eval()


def metas(images):
    size = tuple(images.shape[2:])
    return [dict(ori_shape=size, img_shape=size, pad_shape=size, padding_size=[0] * 4) for _ in images]


@pytest.mark.parametrize('window_batch', [1, 3])
@pytest.mark.parametrize(('size', 'crop', 'stride'), CASES)
@torch.no_grad()
def test_slide_inference__as_upstream(size, crop, stride, window_batch):
    model, images = segmentor(crop, stride, window_batch=window_batch), torch.randn(2, 3, *size)
    upstream = EncoderDecoder.slide_inference
    expected = upstream(model, images, metas(images))
    assert expected.shape == (2, 7, *size)
    before = metas(images)
    assert relative_error(model.slide_inference(images, before), expected) < 1e-5
    # Upstream writes the size of its windows there.
    assert before == metas(images)


@torch.no_grad()
def test_slide_inference__runs_as_many_windows_as_told():
    sizes = []
    for window_batch in (1, 4):
        model = segmentor((32, 32), (21, 21), window_batch=window_batch)
        model.backbone.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
        model.slide_inference(torch.randn(1, 3, 64, 64), metas(torch.zeros(1, 3, 64, 64)))
    assert sizes == [1] * 9 + [4, 4, 1]


@torch.no_grad()
def test_predict__samples_as_upstream(monkeypatch):
    model, images = segmentor((32, 48), (21, 31), window_batch=2), torch.randn(2, 3, 75, 118)
    result = model.predict(images)
    monkeypatch.setattr(type(model), 'slide_inference', EncoderDecoder.slide_inference)
    for sample, expected in zip(result, model.predict(images), strict=True):
        assert relative_error(sample.seg_logits.data, expected.seg_logits.data) < 1e-5
        assert (sample.pred_sem_seg.data == expected.pred_sem_seg.data).float().mean() > 0.999


def test_predict__on_a_gpu_without_one():
    """Values that torch only pretends to have: nothing of ours lies on the CPU, and nothing of the trial is kept."""
    model, images = segmentor((32, 48), (21, 31)), torch.randn(1, 3, 75, 118)
    with torch.no_grad():
        expected = model.slide_inference(images, metas(images))
    with fake_cuda() as gpu, gpu, torch.no_grad():
        pretended = torch.empty(1, 3, 75, 118)
        scores = segmentor((32, 48), (21, 31)).slide_inference(pretended, metas(pretended))
    assert scores.device.type == 'cuda' and scores.shape == expected.shape
    with torch.no_grad():
        assert torch.equal(model.slide_inference(images, metas(images)), expected)
