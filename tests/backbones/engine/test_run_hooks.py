"""Hooks in mmengine's own Runner."""

import random

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from backbones.engine.run_hooks import SeedEachEpoch, StopOnNonFinite
from tests.two_processes import in_two


class Rows(Dataset):
    metainfo = {}

    def __init__(self, length=20):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return {'inputs': torch.ones(2)}


class Noisy(BaseModel):
    """Keeps the random numbers it draws; the loss breaks at a given step."""

    def __init__(self, breaks_at=None):
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.breaks_at = breaks_at
        self.drawn = []

    def forward(self, inputs, data_samples=None, mode='loss'):
        self.drawn.append(torch.rand(()).item())
        loss = self.linear(inputs).square().mean()
        return {'loss': loss * float('nan') if len(self.drawn) - 1 == self.breaks_at else loss}


def train(work_dir, model, hook, epochs=2, length=20, **more):
    runner = Runner(
        model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=4,
            num_workers=more.pop('workers', 0),
            dataset=more.pop('dataset', None) or Rows(length),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        custom_hooks=[hook],
        randomness=more.pop('randomness', dict(seed=7)),
        experiment_name=f'{work_dir.name}_{id(model)}',
        default_scope='mmengine',
        **more,
    )
    runner.train()
    return model.drawn


def test_seed_each_epoch__resumed_run_draws_as_the_uninterrupted(tmp_path):
    whole = train(tmp_path / 'whole', Noisy(), SeedEachEpoch())
    first = train(tmp_path / 'part', Noisy(), SeedEachEpoch(), epochs=1)
    checkpoint = str(tmp_path / 'part' / 'epoch_1.pth')
    rest = train(tmp_path / 'part', Noisy(), SeedEachEpoch(), load_from=checkpoint, resume=True)
    assert len(whole) == 10
    assert first + rest == whole
    assert len(set(whole)) == 10


def test_seed_each_epoch__seed_of_the_run_decides(tmp_path):
    drawn = [train(tmp_path / 'a', Noisy(), SeedEachEpoch(), randomness=dict(seed=seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])


def test_seed_each_epoch__processes_draw_different_masks(tmp_path, monkeypatch):
    first = train(tmp_path / 'a', Noisy(), SeedEachEpoch())
    monkeypatch.setattr('backbones.engine.run_hooks.get_rank', lambda: 1)
    assert not set(first) & set(train(tmp_path / 'b', Noisy(), SeedEachEpoch()))


def test_stop_on_non_finite__good_checkpoint_is_kept(tmp_path):
    # Step 9 is the last of epoch 2: its weights must not be saved.
    with pytest.raises(FloatingPointError, match='the loss is nan at iteration 10'):
        train(tmp_path, Noisy(breaks_at=9), StopOnNonFinite())
    assert (tmp_path / 'epoch_1.pth').exists()
    assert not (tmp_path / 'epoch_2.pth').exists()


def test_stop_on_non_finite__looks_inside_a_long_epoch(tmp_path):
    model = Noisy(breaks_at=49)
    with pytest.raises(FloatingPointError, match='at iteration 50'):
        train(tmp_path, model, StopOnNonFinite(), length=4 * 80)
    assert len(model.drawn) == 50


class Numbered(Noisy):
    """Its loss breaks in the second process alone."""

    def forward(self, inputs, data_samples=None, mode='loss'):
        losses = super().forward(inputs, data_samples, mode)
        return losses if get_rank() else {'loss': losses['loss'].nan_to_num(1.0)}


def break_in_one(work_dir, checkpoint, breaks_at):
    """Each process trains on its own, and they look at their losses together."""
    hooks = dict(checkpoint=dict(type='CheckpointHook', **checkpoint))
    train(work_dir, Numbered(breaks_at), StopOnNonFinite(), epochs=2, length=8 * 5, default_hooks=hooks)


@pytest.mark.parametrize(
    ('checkpoint', 'breaks_at', 'good'),
    [
        (dict(interval=1), 9, 'epoch_1.pth'),
        # Inside an epoch, at an iteration that saves but is no look of its own.
        (dict(by_epoch=False, interval=3), 5, 'iter_3.pth'),
    ],
)
def test_stop_on_non_finite__all_processes_stop(tmp_path, checkpoint, breaks_at, good):
    first, second = in_two(tmp_path, break_in_one, tmp_path, checkpoint, breaks_at)
    assert [type(error) for error in (first, second)] == [FloatingPointError] * 2
    iteration = f'at iteration {breaks_at + 1}'
    assert f'the loss is not finite in another process {iteration}' in str(first)
    assert f'the loss is nan {iteration}' in str(second)
    assert [file.name for file in tmp_path.glob('*_*.pth')] == [good]


class Drawn(Dataset):
    """What PyTorch, NumPy and Python draw in a worker."""

    metainfo = {}

    def __len__(self):
        return 8

    def __getitem__(self, index):
        draws = (torch.rand(()).item(), float(np.random.rand()), random.random())
        return {'inputs': torch.tensor(draws, dtype=torch.float64)}


class Keeps(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.drawn = []

    def forward(self, inputs, data_samples=None, mode='loss'):
        self.drawn += inputs.tolist()
        return {'loss': self.linear(inputs.float()).square().mean()}


def drawn(work_dir, epochs=2, **more):
    """Draws of an epoch after the other, in two workers, under mmengine's own way to start these."""
    model = Keeps()
    train(work_dir, model, SeedEachEpoch(), epochs, dataset=Drawn(), workers=2, **more)
    return model.drawn


def test_seed_each_epoch__workers_draw_anew_and_a_resumed_run_goes_on(tmp_path):
    whole = drawn(tmp_path / 'whole')
    assert len(whole) == 16
    # Mmengine's own function repeats both columns and epochs.
    assert len({value for row in whole for value in row}) == 3 * 16
    first = drawn(tmp_path / 'part', 1)
    rest = drawn(tmp_path / 'part', load_from=str(tmp_path / 'part' / 'epoch_1.pth'), resume=True)
    assert first + rest == whole
