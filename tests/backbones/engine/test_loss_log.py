"""Losses read together: the same log, and no wait for the device inside the step."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset

from backbones import DeferredLossLog

WAITS = ('_local_scalar_dense', 'nonzero', 'masked_select', 'equal', 'is_nonzero', 'unique')


class Numbers(Dataset):
    metainfo: dict = {}

    def __len__(self):
        return 9

    def __getitem__(self, index):
        return {'inputs': torch.full((2,), index / 3)}


class Regression(BaseModel):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(2, 1)

    def forward(self, inputs, mode='loss'):
        error = self.line(inputs) - 1
        return {'loss_a': error.square().mean(), 'loss_b': [error.abs().mean(), error.abs().max()]}


def train(folder, runtime_info, wrapper='BF16OptimWrapper', interval=2):
    torch.manual_seed(3)
    runner = Runner(
        model=Regression(),
        work_dir=str(folder),
        train_dataloader=dict(
            batch_size=2,
            dataset=Numbers(),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        optim_wrapper=dict(type=wrapper, optimizer=dict(type='SGD', lr=0.05), clip_grad=dict(max_norm=0.1)),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        default_hooks=dict(
            runtime_info=dict(type=runtime_info),
            logger=dict(type='LoggerHook', interval=interval, ignore_last=False),
            checkpoint=dict(type='CheckpointHook', interval=1),
        ),
        default_scope='mmengine',
        experiment_name=f'{folder.parent.name}_{folder.name}',
        log_level='ERROR',
    )
    runner.train()
    (scalars,) = folder.glob('*/vis_data/scalars.json')
    return runner, [json.loads(line) for line in scalars.read_text().splitlines()]


@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'BF16OptimWrapper'])
def test_deferred_loss_log__same_log_and_same_history(tmp_path, wrapper):
    runner, lines = train(tmp_path / 'deferred', 'DeferredLossLog', wrapper)
    plain, expected = train(tmp_path / 'plain', 'RuntimeInfoHook', wrapper)
    for line in (*lines, *expected):
        del line['time'], line['data_time']
        line.pop('memory', None)
    assert lines == expected
    assert len(lines) == 2 * 3
    assert {'loss', 'loss_a', 'loss_b', 'grad_norm'} <= lines[0].keys()
    for name in ('loss', 'loss_a', 'loss_b', 'grad_norm'):
        ours, upstream = (r.message_hub.log_scalars[f'train/{name}'].data[0] for r in (runner, plain))
        assert ours.tolist() == upstream.tolist()
        assert len(ours) == 10
    saved = torch.load(tmp_path / 'deferred' / 'epoch_1.pth', weights_only=False)
    assert len(saved['message_hub']['log_scalars']['train/loss']['log_history']) == 5


class CountWaits(TorchDispatchMode):
    """Counts the operators for which a host waits for its device."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._overloadpacket.__name__ in WAITS:
            self.found.append(func._overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_deferred_loss_log__waits_once_per_line(tmp_path):
    counts = []
    for runtime_info in ('RuntimeInfoHook', 'DeferredLossLog'):
        with CountWaits() as waits:
            train(tmp_path / runtime_info, runtime_info, interval=100)
        counts.append(len(waits.found))
    # four scalars in each of ten iterations; then none, as tolist is one copy for all lines
    assert counts[0] - counts[1] == 40


class WithNumbers(Regression):
    """Logs plain numbers beside tensors, as upstream allows."""

    def train_step(self, data, optim_wrapper):
        return {**super().train_step(data, optim_wrapper), 'count': 3, 'share': 0.25, 'one': torch.tensor([7.0])}


def test_deferred_loss_log__numbers_beside_tensors(tmp_path, monkeypatch):
    monkeypatch.setattr('tests.backbones.engine.test_loss_log.Regression', WithNumbers)
    lines = train(tmp_path / 'deferred', 'DeferredLossLog')[1]
    expected = train(tmp_path / 'plain', 'RuntimeInfoHook')[1]
    for name in ('count', 'share', 'one', 'loss'):
        assert [line[name] for line in lines] == [line[name] for line in expected]
    assert (lines[0]['count'], lines[0]['share'], lines[0]['one']) == (3, 0.25, 7)


def test_deferred_loss_log__without_a_logger_holds_a_bounded_number(monkeypatch):
    """A runner that never logs: what waits is handed over now and then."""
    monkeypatch.setattr('backbones.engine.loss_log.MOST_WAITING', 5)
    hub, hook = MessageHub.get_instance('without_a_logger'), DeferredLossLog()
    runner = SimpleNamespace(hooks=[], optim_wrapper=None, message_hub=hub)
    most = 0
    for step in range(17):
        hook.after_train_iter(runner, step, outputs={'loss': torch.tensor(float(step))})
        most = max(most, len(hook.waiting))
    assert most == 4
    assert hub.get_scalar('train/loss').data[0].tolist() == list(range(15))
