"""Stops by a signal in several processes, and best checkpoints."""

import os
import signal

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from backbones.engine.resume.file import find_latest
from backbones.engine.resume.saving import AtomicCheckpointHook, SaveOnSignal
from tests.backbones.engine.test_run_hooks import Noisy, Rows
from tests.two_processes import in_two


class TellOne(Hook):
    """One process of two gets the signal."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 3 and runner.rank == 1:
            os.kill(os.getpid(), signal.SIGUSR1)


def stopped(work_dir):
    runner = Runner(
        Noisy(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            dataset=Rows(240),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        custom_hooks=[TellOne(), SaveOnSignal()],
        default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook')),
        experiment_name=f'stopped_{work_dir.name}',
        default_scope='mmengine',
    )
    with pytest.raises(SystemExit) as end:
        runner.train()
    return end.value.code, runner.iter


def test_save_on_signal__both_processes_stop_where_one_is_told(tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/iter_4.pth').touch()  # of an earlier stop
    found = in_two(tmp_path, stopped, tmp_path / 'run')
    # They look every ten updates, and both save the same one.
    assert found == [(128 + signal.SIGUSR1, 9)] * 2
    assert find_latest(tmp_path / 'run').name == 'iter_10.pth'
    assert torch.load(tmp_path / 'run/iter_10.pth', weights_only=True)['meta']['iter'] == 10
    assert [path.name for path in (tmp_path / 'run').glob('*.pth*')] == ['iter_10.pth']


class Best:
    """What `AtomicCheckpointHook` asks of a runner for its best checkpoint."""

    def __init__(self):
        self.warnings = []
        self.logger = self

    def warning(self, text):
        self.warnings.append(text)


def test_best_checkpoint__a_metric_that_is_absent_is_told():
    hook, runner = AtomicCheckpointHook(save_best='coco/bbox_mAP', rule='greater'), Best()
    hook._save_best_checkpoint(runner, {'coco/segm_mAP': 0.1})
    assert runner.warnings == ['no best checkpoint this time: coco/bbox_mAP is not among the metrics']
