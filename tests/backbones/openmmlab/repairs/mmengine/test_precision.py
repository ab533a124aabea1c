"""Reduced precision on CPU: training, RoI coordinates, predictions."""

from collections import OrderedDict

import mmengine.optim.optimizer.amp_optimizer_wrapper as amp
import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.structures import DetDataSample
from mmengine.device import is_cuda_available
from mmengine.model import BaseModel
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.structures import InstanceData, PixelData
from torchvision.ops import roi_align

from backbones.openmmlab.repairs.mmengine import precision as repairs_precision
from backbones.openmmlab.repairs.mmengine.precision import full_precision
from tests.backbones.openmmlab.tiny import Data, Model, build
from tests.helpers import relative_error

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason='the defect shows on machines without a GPU')
STRIDES = (4, 8)


def autocast_steps(model, steps):
    """Train by hand: bfloat16 forward pass, float32 weights, no loss scaling."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = Data()
    for step in range(steps):
        x = torch.stack([data[2 * step]['x'], data[2 * step + 1]['x']])
        with torch.autocast('cpu', dtype=torch.bfloat16):
            loss = model(x)['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@on_cpu
@pytest.mark.parametrize('settings', [{'type': 'BF16OptimWrapper'}, {'type': 'AmpOptimWrapper', 'dtype': 'bfloat16'}])
def test_bfloat16__trains_like_a_plain_loop(settings, tmp_path):
    model, expected = Model(), Model()
    expected.load_state_dict(model.state_dict())
    optim_wrapper = {**settings, 'optimizer': {'type': 'SGD', 'lr': 0.1}}
    build(tmp_path, model=model, optim_wrapper=optim_wrapper, param_scheduler=None).train()
    autocast_steps(expected, steps=4)
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert model.line.weight.dtype == torch.float32


@on_cpu
def test_bfloat16__with_ema_resumes(tmp_path):
    settings = {
        'optim_wrapper': {'type': 'AmpOptimWrapper', 'optimizer': {'type': 'SGD', 'lr': 0.1}},
        'custom_hooks': [{'type': 'EMAHook'}],
    }
    build(tmp_path, **settings).train()
    resumed = build(tmp_path, epochs=2, resume=True, **settings)
    resumed.train()
    assert resumed.iter == 8


@on_cpu
def test_amp__without_repair_refuses_cpus(monkeypatch):
    optimizer = torch.optim.SGD(Model().parameters(), lr=0.1)
    OPTIM_WRAPPERS.build({'type': 'AmpOptimWrapper', 'optimizer': optimizer})
    monkeypatch.setattr(amp, 'is_cuda_available', is_cuda_available)
    with pytest.raises(AssertionError, match='only available'):
        OPTIM_WRAPPERS.build({'type': 'AmpOptimWrapper', 'optimizer': optimizer})


def pooled(features, rois):
    """RoIAlign of one RoI after the other, each on the level of its size."""
    result = []
    for roi in rois:
        size = ((roi[3] - roi[1]) * (roi[4] - roi[2])).sqrt()
        level = int(torch.log2(size / 56 + 1e-6).floor().clamp(0, len(features) - 1))
        scale = 1 / STRIDES[level]
        result.append(roi_align(features[level].float(), roi[None], 7, scale, sampling_ratio=0, aligned=True))
    return torch.cat(result)


def roi_case(dtype):
    """Features of an image of 512 x 1024 and RoIs with coordinates that bfloat16 cannot hold."""
    features = [torch.randn(2, 3, 512 // s, 1024 // s).to(dtype).requires_grad_() for s in STRIDES]
    corner = torch.rand(40, 2) * torch.tensor([800.0, 300.0])
    size = 20 + torch.rand(40, 2) * 180
    index = torch.randint(0, 2, (40, 1)).float()
    extractor = SingleRoIExtractor({'type': 'RoIAlign', 'output_size': 7, 'sampling_ratio': 0}, 3, list(STRIDES))
    return extractor, features, torch.cat([index, corner, corner + size], dim=1)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_rois__stay_in_float32(dtype):
    extractor, features, rois = roi_case(dtype)
    result = extractor(features, rois)
    expected = pooled(features, rois)
    assert result.dtype == dtype and torch.equal(result, expected.to(dtype))
    result.float().square().sum().backward()
    assert all(f.grad.dtype == dtype and f.grad.abs().sum() > 0 for f in features)

    unrepaired = SingleRoIExtractor.forward.__wrapped__(extractor, features, rois)
    assert relative_error(unrepaired.float(), expected) > 0.02


def test_rois__float32_is_untouched():
    extractor, features, rois = roi_case(torch.float32)
    expected = SingleRoIExtractor.forward.__wrapped__(extractor, features, rois)
    assert torch.equal(extractor(features, rois), expected)


def test_full_precision__reaches_every_tensor():
    low = torch.tensor([1.5, 2.5]).bfloat16()
    instances = InstanceData(scores=low, labels=torch.tensor([1, 2]), masks=torch.tensor([True, False]))
    sample = DetDataSample(pred_instances=instances, pred_sem_seg=PixelData(data=low.expand(1, 3, 2)))
    result = full_precision([sample, OrderedDict(a=(low, 'text'))])
    assert result[0] is sample
    assert sample.pred_instances.scores.dtype == torch.float32
    assert sample.pred_instances.scores.tolist() == [1.5, 2.5]
    assert sample.pred_instances.labels.dtype == torch.int64 and sample.pred_instances.masks.dtype == torch.bool
    assert sample.pred_sem_seg.data.dtype == torch.float32
    assert result[1]['a'][0].dtype == torch.float32 and result[1]['a'][1] == 'text'
    assert type(result[1]) is OrderedDict


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.float64])
def test_full_precision__what_numpy_has_is_not_touched(dtype):
    """Not even copied: predictions are the user's."""
    value = torch.ones(2, dtype=dtype)
    sample = DetDataSample(pred_instances=InstanceData(scores=value))
    for content in (value, [value], (value,), {'a': [value]}, [sample]):
        assert full_precision(content) is content
    assert sample.pred_instances.scores is value


@on_cpu
def test_amp__a_gpu_that_appears_later_is_judged_by_mmengine(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    seen = []
    monkeypatch.setattr(torch.amp.GradScaler, '__init__', lambda self, *args, **kwargs: seen.append((args, kwargs)))
    assert amp.is_cuda_available()
    amp.GradScaler(init_scale=4.0)
    ((args, kwargs),) = seen
    assert 'cuda' in args and kwargs.get('init_scale', args[-1]) is not None and kwargs.get('enabled', True)


def test_amp__other_devices_are_refused_as_upstream(monkeypatch):
    """As on a Mac: neither CPU nor CUDA."""
    monkeypatch.setattr(repairs_precision, 'get_device', lambda: 'mps')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    asks = amp.is_cuda_available
    assert not asks()
    assert not repairs_precision.repair_amp_on_cpu()
    assert amp.is_cuda_available is asks


def test_rois__an_extractor_without_the_defect_is_left_alone():
    class Repaired:
        def forward(self, feats, rois):
            return feats

    forward = Repaired.forward
    assert not repairs_precision._repair_extractor(Repaired)
    assert Repaired.forward is forward


@on_cpu
@pytest.mark.parametrize('loop', ['val', 'test'])
def test_reduced_evaluation__reaches_the_metric_in_float32(loop, tmp_path, monkeypatch):
    runner = build(tmp_path, default_hooks={'checkpoint': None}, **{f'{loop}_cfg': {'fp16': True}})
    run = getattr(runner, loop)
    model = runner.model
    score = run()['score']
    assert model.dtype_inside == torch.bfloat16

    data = Data()
    inputs = torch.stack([data[index]['x'] for index in range(len(data))])
    with torch.autocast('cpu', dtype=torch.bfloat16), torch.no_grad():
        expected = model.norm(model.line(inputs)).float().sum(1).mean()
    assert score == pytest.approx(expected.item(), abs=1e-5)

    step = f'{loop}_step'
    monkeypatch.setattr(BaseModel, step, getattr(BaseModel, step).__wrapped__)
    with pytest.raises(TypeError, match='BFloat16'):
        run()
