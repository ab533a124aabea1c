"""Shipped configs through tools/train.py in two processes: hooks, masks and statistics as they ship."""

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from PIL import Image

from backbones.openmmlab.repairs.mmengine.sharded import whole
from downstream.cli.train import main as train
from tests.conftest import ROOT
from tests.two_processes import in_two

pytestmark = pytest.mark.slow
LEFT = []


@HOOKS.register_module(force=True)
class LeaveWeights(Hook):
    """Keeps what a process has at the end, and what the log has of its steps."""

    priority = 'LOWEST'

    def after_train(self, runner):
        losses = runner.message_hub.get_scalar('train/loss').data[0].tolist()
        averages = [hook.ema_model.module for hook in runner.hooks if hasattr(hook, 'ema_model')]
        models = [runner.model.module, *averages]
        LEFT.append(
            (losses, [{name: whole(value).clone() for name, value in model.state_dict().items()} for model in models])
        )


def draw_images(folder, count=16):
    rng = np.random.default_rng(0)
    for index in range(count):
        place = folder / ('ant' if index % 2 else 'bee') / f'{index}.png'
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (48, 56, 3), dtype=np.uint8)).save(place)


def trained(config, data, work_dir, *options, flags=()):
    """Losses and weights of this process after two epochs."""
    LEFT.clear()
    train(
        [
            *(str(ROOT / f'pretrain/configs/{config}.py'), '--data-root', str(data), '--work-dir', str(work_dir)),
            *('--launcher', 'pytorch', '--pretrained', 'random', *flags),
            *('--cfg-options', 'train_dataloader.batch_size=2', 'train_dataloader.num_workers=0'),
            *('train_cfg.max_epochs=2', 'custom_hooks=[dict(type="LeaveWeights")]', *options),
        ]
    )
    return LEFT[0]


WARM = ('param_scheduler.0.end=1', 'param_scheduler.1.begin=1')
SMALL = ('train_dataloader.dataset.crop_size=32', 'model.encoder.img_size=32', *WARM)
RUNS = {
    'tokenizer_tiny': ('train_dataloader.dataset.crop_size=32', 'param_scheduler.0.end=2'),
    'mae_tiny': SMALL,
}


@pytest.mark.parametrize('config', RUNS)
def test_two__end_with_the_same_weights_from_different_steps(tmp_path, config):
    draw_images(tmp_path / 'data')
    options = RUNS[config]
    (one, first), (two, second) = in_two(tmp_path, trained, config, tmp_path / 'data', tmp_path / 'run', *options)
    assert len(one) == len(two) == 8
    assert not set(one) & set(two)
    assert len(first) == len(second) == (2 if config.startswith('tokenizer') else 1)
    for model, other in zip(first, second, strict=True):
        # What each counts of its own codes is no part of a checkpoint.
        assert all(torch.equal(value, other[name]) for name, value in model.items())
    assert (tmp_path / 'run' / 'epoch_2.pth').is_file()


def test_two__statistics_of_batch_norm_agree_and_are_saved(tmp_path):
    for part in ('train', 'val'):
        draw_images(tmp_path / 'data' / part)
    options = [
        *('model.backbone.img_size=32', *WARM, 'val_dataloader.num_workers=0', 'val_dataloader.batch_size=4'),
        *(f'{part}_dataloader.dataset.transform.size=32' for part in ('train', 'val')),
    ]
    (_, [first]), (_, [second]) = in_two(
        tmp_path, trained, 'linear_tiny', tmp_path / 'data', tmp_path / 'run', *options
    )
    statistics = [name for name in first if 'running_' in name]
    assert len(statistics) == 2
    for name in statistics:
        assert torch.equal(first[name], second[name])
        assert first[name].any()
    saved = torch.load(tmp_path / 'run' / 'epoch_2.pth', weights_only=False)['state_dict']
    assert all(torch.equal(first[name], saved[name]) for name in first)


def sharded(*args):
    return trained(*args, flags=('--sharded', '--amp'))


@pytest.mark.skipif(not hasattr(torch.cpu.Stream, 'record_event'), reason='a torch that shards on CPUs')
def test_two__sharded_in_bf16_with_clipping(tmp_path):
    """The norm of the gradients reaches the log, of which there is a line for each step."""
    draw_images(tmp_path / 'data')
    options = (*SMALL, 'optim_wrapper.clip_grad.max_norm=0.5', 'default_hooks.logger.interval=1')
    (one, [first]), (two, [second]) = in_two(
        tmp_path, sharded, 'mae_tiny', tmp_path / 'data', tmp_path / 'run', *options
    )
    assert len(one) == len(two) == 8
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    saved = torch.load(tmp_path / 'run' / 'epoch_2.pth', weights_only=False)
    norms = saved['message_hub']['log_scalars']['train/grad_norm']['log_history']
    assert len(norms) == 8 and min(norms) > 0.5
    assert all(torch.equal(value, saved['state_dict'][name]) for name, value in first.items())
