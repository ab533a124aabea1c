"""The tiny config through mmengine's Runner, on written images: train, log, resume."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from backbones import PlainViT
from backbones.checkpoint.load import load_pretrained, read_checkpoint

CONFIGS = Path(__file__).resolve().parents[3] / 'pretrain' / 'configs'


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for index in range(10):
        Image.fromarray(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(root / f'{index}.png')
    return root


def config(images, work_dir, epochs, **changes):
    cfg = Config.fromfile(CONFIGS / 'mae_tiny.py')
    cfg.merge_from_dict(
        {
            'work_dir': str(work_dir),
            'model.encoder.img_size': 32,
            'train_dataloader.dataset.crop_size': 32,
            'train_dataloader.dataset.data_root': [str(images)],
            'train_dataloader.batch_size': 4,
            # The last batch has two images.
            'train_dataloader.drop_last': False,
            'train_dataloader.num_workers': 2,
            'train_cfg.max_epochs': epochs,
            'param_scheduler.0.end': 1,
            'param_scheduler.1.begin': 1,
            # The same curve for a run that is stopped early.
            'param_scheduler.1.end': 3,
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.logger.interval': 1,
            'experiment_name': f'{work_dir.name}_{epochs}',
            **changes,
        }
    )
    return cfg


def train(cfg):
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def losses(work_dir):
    """Logged losses by iteration, of all runs in a folder."""
    found = {}
    for scalars in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in scalars.read_text().splitlines():
            entry = json.loads(line)
            found[entry['step']] = entry['loss']
    return found


@pytest.fixture(scope='module')
def whole(images, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('whole')
    return work_dir, train(config(images, work_dir, 2))


def test_training__resumed_run_ends_with_the_weights_of_the_uninterrupted(images, whole, tmp_path):
    train(config(images, tmp_path, 1))
    rest = train(config(images, tmp_path, 2, resume=True, load_from=str(tmp_path / 'epoch_1.pth')))
    work_dir, runner = whole
    assert losses(tmp_path) == losses(work_dir)
    expected = runner.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in rest.model.state_dict().items())


def test_training__logs_scalars_for_json_and_tensorboard(whole):
    work_dir, _ = whole
    logged = losses(work_dir)
    assert sorted(logged) == [1, 2, 3, 4, 5, 6]
    assert all(0 < loss < 10 for loss in logged.values())
    assert list(work_dir.glob('*/vis_data/events.out.tfevents.*'))
    assert list(work_dir.glob('*/vis_data/config.py'))


def test_training__same_seed_same_losses_other_seed_others(images, whole, tmp_path):
    work_dir, _ = whole
    train(config(images, tmp_path / 'same', 1))
    train(config(images, tmp_path / 'other', 1, **{'randomness.seed': 1}))
    first_epoch = {step: loss for step, loss in losses(work_dir).items() if step <= 3}
    assert losses(tmp_path / 'same') == first_epoch
    assert not set(losses(tmp_path / 'other').values()) & set(first_epoch.values())


def test_training__checkpoint_is_plain_and_fills_a_backbone(whole):
    work_dir, runner = whole
    content = read_checkpoint(work_dir / 'epoch_2.pth')
    assert {'state_dict', 'meta', 'optimizer', 'param_schedulers'} <= set(content)
    vit = PlainViT('tiny', img_size=32, out_norm=True)
    load_pretrained(vit, work_dir / 'epoch_2.pth')
    trained = runner.model.encoder.state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in vit.state_dict().items())


def test_training__bf16_follows_float32(images, whole, tmp_path):
    work_dir, _ = whole
    runner = train(config(images, tmp_path, 1, **{'optim_wrapper.type': 'BF16OptimWrapper'}))
    exact = losses(work_dir)
    rounded = losses(tmp_path)
    assert runner.model.encoder.blocks[0].attn.qkv.weight.dtype == torch.float32
    assert all(0 < abs(rounded[step] - exact[step]) < 0.02 for step in (1, 2, 3))
