"""Who sets the pace, told from given times: none is measured here."""

import logging

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from backbones.engine.loader_watch import WatchLoader

STEPS = 6


class Rows(Dataset):
    metainfo = {}

    def __len__(self):
        return 2 * STEPS

    def __getitem__(self, index):
        return {'inputs': torch.ones(2)}


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, inputs, data_samples=None, mode='loss'):
        return {'loss': self.linear(inputs).square().mean()}


@HOOKS.register_module(force=True)
class GivenTimes(Hook):
    """Writes times where mmengine's IterTimerHook does: waiting for data, and in all, of each step of an epoch."""

    def __init__(self, waits, steps):
        self.waits, self.steps = waits, steps

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        wait = self.waits[batch_idx]
        runner.message_hub.update_scalar('train/data_time', wait)
        runner.message_hub.update_scalar('train/time', wait + self.steps)


def warnings_of(tmp_path, waits, caplog, steps=0.02, **options):
    """Warnings of two epochs of six steps with these waits for data, each step taking 0.02 s more."""
    dataloader = dict(
        batch_size=2,
        num_workers=0,
        dataset=Rows(),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    runner = Runner(
        Line(),
        work_dir=str(tmp_path),
        train_dataloader=dataloader,
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(timer=dict(type='GivenTimes', waits=waits, steps=steps), logger=None),
        custom_hooks=[WatchLoader(**options)],
        experiment_name=f'{tmp_path.parent.name}_{tmp_path.name}',
        default_scope='mmengine',
    )
    runner.logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        runner.train()
    return [entry.getMessage() for entry in caplog.records if 'sets the pace' in entry.getMessage()]


def test_watch_loader__slow_reading_is_told_once_per_epoch(tmp_path, caplog):
    told = warnings_of(tmp_path, [0.06] * STEPS, caplog)
    assert len(told) == 2
    # 0.06 s of reading in 0.08 s.
    assert '75% of the time training waits for data (0.060 s per iteration)' in told[0]
    assert 'Raise train_dataloader.num_workers' in told[0]


def test_watch_loader__interval_looks_inside_an_epoch(tmp_path, caplog):
    # Five steps that count: two looks at two of them, one at the end.
    assert len(warnings_of(tmp_path, [0.06] * STEPS, caplog, interval=2)) == 2 * 3


@pytest.mark.parametrize(('share', 'count'), [(0.74, 2), (0.76, 0)])
def test_watch_loader__share_is_the_limit(tmp_path, caplog, share, count):
    assert len(warnings_of(tmp_path, [0.06] * STEPS, caplog, share=share)) == count


def test_watch_loader__slow_start_is_no_matter(tmp_path, caplog):
    """The first read of an epoch, in which workers start, does not count; the same wait later does."""
    assert warnings_of(tmp_path, [5.0] + [0.0] * (STEPS - 1), caplog) == []
    assert len(warnings_of(tmp_path / 'later', [0.0, 5.0] + [0.0] * (STEPS - 2), caplog)) == 2


def test_watch_loader__reads_the_times_of_mmengine(tmp_path, caplog):
    """With the timer that ships: the names of its times are those that are read."""
    runner_times = {}

    class Peek(Hook):
        priority = 'VERY_LOW'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            for name in ('data_time', 'time'):
                runner_times[name] = runner.message_hub.get_scalar(f'train/{name}').current()

    runner = Runner(
        Line(),
        work_dir=str(tmp_path),
        train_dataloader=dict(batch_size=2, dataset=Rows(), sampler=dict(type='DefaultSampler'),
                              collate_fn=dict(type='default_collate')),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        custom_hooks=[WatchLoader(), Peek()],
        experiment_name=f'{tmp_path.name}_mmengine',
        default_scope='mmengine',
    )  # fmt: skip
    runner.train()
    assert 0 <= runner_times['data_time'] <= runner_times['time']
    hooks = [type(hook).__name__ for hook in runner.hooks]
    assert hooks.index('IterTimerHook') < hooks.index('WatchLoader')


@pytest.mark.parametrize('options', [{'interval': 0}, {'share': 0.0}, {'share': 1.0}])
def test_watch_loader__bad_options(options):
    with pytest.raises(ValueError, match='WatchLoader'):
        WatchLoader(**options)
