"""Evaluation in bfloat16: what is cast, the switch, and predictions that are not rounded."""

import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import MODELS, DefaultScope

from backbones.engine.bf16 import bf16
from backbones.engine.launch.commands import evaluate_in_bf16
from downstream.cli.test import main as evaluate
from tests.backbones.openmmlab.repairs.test_mmseg import sample, segmentor
from tests.backbones.openmmlab.tiny import Data, NumpyScore, build
from tests.conftest import ROOT
from tests.helpers import randomise, relative_error


@pytest.mark.parametrize('part', ['val', 'test'])
def test_loop__casts_to_bfloat16(part, tmp_path):
    loop = {'val': 'BF16ValLoop', 'test': 'BF16TestLoop'}[part]
    runner = build(tmp_path, default_hooks={'checkpoint': None}, **{f'{part}_cfg': {'type': loop}})
    score = getattr(runner, part)()['score']
    model = runner.model
    assert model.dtype_inside == torch.bfloat16
    assert not torch.is_autocast_enabled('cpu')

    data = Data()
    inputs = torch.stack([data[index]['x'] for index in range(len(data))])
    with torch.no_grad():
        full = model.norm(model.line(inputs)).sum(1).mean().item()
        with torch.autocast('cpu', dtype=torch.bfloat16):
            cast = model.norm(model.line(inputs)).float().sum(1).mean().item()
    assert score == pytest.approx(cast, abs=1e-5)
    assert score != full and score == pytest.approx(full, rel=2e-2, abs=2e-2)


def test_evaluate_in_bf16__plain_loops_only():
    cfg = Config(dict(val_cfg=dict(type='ValLoop'), test_cfg=dict(), other_cfg=None))
    assert evaluate_in_bf16(cfg, 'val') == ['val: bf16 autocast']
    assert evaluate_in_bf16(cfg, 'test') == ['test: bf16 autocast']
    assert (cfg.val_cfg.type, cfg.test_cfg.type) == ('BF16ValLoop', 'BF16TestLoop')
    own = Config(dict(val_cfg=dict(type='EpochLoop'), test_cfg=None))
    assert evaluate_in_bf16(own, 'val') == evaluate_in_bf16(own, 'test') == []
    assert own.val_cfg.type == 'EpochLoop'


class ExactMetric(NumpyScore):
    """Multiplies matrices while it scores: autocast would round them."""

    def process(self, data_batch, data_samples):
        assert not torch.is_autocast_enabled('cpu')
        self.results += [(sample['y'][None] @ torch.tensor([[1.0], [1 / 3]])).item() for sample in data_samples]


class ExactHook(Hook):
    """Notes the type of a product made after each batch."""

    def __init__(self):
        self.types = set()

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.types.add((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)

    after_test_iter = after_val_iter


@pytest.mark.parametrize('part', ['val', 'test'])
def test_loop__metrics_and_hooks_outside(part, tmp_path):
    loop, metric, hook = {'val': 'BF16ValLoop', 'test': 'BF16TestLoop'}[part], ExactMetric(), ExactHook()
    settings = {f'{part}_cfg': {'type': loop}, f'{part}_evaluator': [metric]}
    runner = build(tmp_path, default_hooks={'checkpoint': None}, **settings)
    runner.register_hook(hook)
    score = getattr(runner, part)()['score']
    model, data = runner.model, Data()
    assert hook.types == {torch.float32} and model.dtype_inside == torch.bfloat16
    inputs = torch.stack([data[index]['x'] for index in range(len(data))])
    with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
        outputs = model.norm(model.line(inputs)).float()
    assert score == pytest.approx((outputs @ torch.tensor([[1.0], [1 / 3]])).mean().item(), rel=1e-5)
    # The model is itself again.
    assert not {'val_step', 'test_step'} & set(vars(model))


def is_bf16(numbers):
    numbers = torch.tensor(numbers)
    return (numbers.bfloat16() == numbers).float().mean().item()


def odd_data(root):
    """An image of 45 x 383 pixels, sides that are no bfloat16 numbers, with a rectangle."""
    generator = np.random.default_rng(0)
    content = dict(images=[], annotations=[], categories=[dict(id=1, name='thing')])
    for number in range(1):
        image = generator.integers(0, 255, (45, 383, 3), dtype=np.uint8)
        for split in ('train', 'val'):
            (root / 'images' / split).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / 'images' / split / f'{number}.png'), image)
        x, y, w, h = 40, 10, 200, 30
        content['images'].append(dict(id=number, file_name=f'{number}.png', height=45, width=383))
        content['annotations'].append(
            dict(id=number + 1, image_id=number, category_id=1, bbox=[x, y, w, h], area=w * h, iscrowd=0,
                 segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]])
        )  # fmt: skip
    (root / 'annotations').mkdir()
    for split in ('train', 'val'):
        (root / f'annotations/instances_{split}.json').write_text(json.dumps(content))
    return root


def test_command_line__amp_predicts_in_float32(tmp_path):
    """Boxes reach the odd sides of the images, masks are pasted, and neither boxes nor scores are rounded."""
    config = str(ROOT / 'det_configs/mask_rcnn_vit_tiny.py')
    cfg = Config.fromfile(config).model
    for head in (cfg.roi_head.bbox_head, cfg.roi_head.mask_head):
        head.num_classes = 1
    with DefaultScope.overwrite_default_scope('mmdet'):
        import mmdet.models  # noqa: F401

        torch.manual_seed(0)
        model = MODELS.build(cfg)
        model.init_weights()
    with torch.no_grad():
        # Large boxes: a third goes beyond the image.
        model.rpn_head.rpn_reg.bias.copy_(torch.tensor([0.0, 0.0, 1.5, 1.5]).repeat(3))
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'model.pth')
    options = ['test_dataloader.dataset.pipeline.1.scale=(383,383)', 'test_dataloader.num_workers=0',
               'test_dataloader.persistent_workers=False', 'model.test_cfg.rcnn.score_thr=0.0',
               'model.test_cfg.rpn.max_per_img=40', 'model.test_cfg.rcnn.nms.iou_threshold=1.0',
               f'test_evaluator.outfile_prefix={tmp_path}/found']  # fmt: skip
    evaluate([config, str(tmp_path / 'model.pth'), '--data-root', str(odd_data(tmp_path / 'data')), '--amp',
              '--work-dir', str(tmp_path / 'run'), '--cfg-options', *options])  # fmt: skip
    found = json.loads((tmp_path / 'found.bbox.json').read_text())
    boxes = [number for entry in found for number in entry['bbox']]
    right = [entry['bbox'][0] + entry['bbox'][2] for entry in found]
    scores = [entry['score'] for entry in found]
    assert len(found) == 40 == len(json.loads((tmp_path / 'found.segm.json').read_text()))
    assert max(right) == pytest.approx(383, abs=1e-3)
    # Coordinates cut to 0 are bfloat16 numbers whatever is done.
    assert is_bf16([number for number in boxes if number > 0]) < 0.1
    assert is_bf16(scores) < 0.1 and len(set(scores)) > 35


def test_bf16__segmentors_upsample_and_choose_in_float32():
    model = randomise(segmentor(dict(mode='whole'))).eval()
    image = torch.randn(3, 64, 80)
    data = dict(inputs=[image], data_samples=[sample(image)])
    with torch.no_grad():
        (full,) = model.val_step(data)
        with bf16(model, 'val_step'):
            (cast,) = model.val_step(data)
    actual, expected = cast.seg_logits.data, full.seg_logits.data
    assert 0 < relative_error(actual, expected) < 0.03
    assert is_bf16(actual.flatten().tolist()) < 0.1
    assert torch.equal(cast.pred_sem_seg.data[0], actual.argmax(0))
