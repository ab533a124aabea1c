import logging
import time

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from backbones.pace import WatchLoader


class Rows(Dataset):
    metainfo = {}

    def __init__(self, wait):
        self.wait = wait

    def __len__(self):
        return 12

    def __getitem__(self, index):
        # The first read is slow, as workers that start are: it must not count.
        time.sleep(0.5 if self.wait == 'start' and index == 0 else 0 if self.wait == 'start' else self.wait)
        return {'inputs': torch.ones(2)}


class Slow(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, inputs, data_samples=None, mode='loss'):
        time.sleep(0.02)
        return {'loss': self.linear(inputs).square().mean()}


def warnings_of(tmp_path, wait, caplog, **options):
    dataloader = dict(
        batch_size=2,
        num_workers=0,
        dataset=Rows(wait),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    runner = Runner(
        Slow(),
        work_dir=str(tmp_path),
        train_dataloader=dataloader,
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        custom_hooks=[WatchLoader(**options)],
        experiment_name=f'{tmp_path.name}_{wait}',
        default_scope='mmengine',
    )
    runner.logger.addHandler(caplog.handler)
    runner.train()
    return [entry.getMessage() for entry in caplog.records if 'sets the pace' in entry.getMessage()]


def test_watch_loader__slow_reading_is_told_once_per_epoch(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        told = warnings_of(tmp_path, 0.06, caplog)
    assert len(told) == 2
    # 2 x 0.06 s of reading against 0.02 s of training.
    share = int(told[0].split('pace: ')[1].split('%')[0])
    assert 60 < share < 95
    assert 'Raise train_dataloader.num_workers' in told[0]


def test_watch_loader__interval_looks_inside_an_epoch(tmp_path, caplog):
    assert len(warnings_of(tmp_path, 0.06, caplog, interval=2)) > 2


def test_watch_loader__share_is_the_limit(tmp_path, caplog):
    assert warnings_of(tmp_path, 0.02, caplog, share=0.97) == []


def test_watch_loader__fast_reading_and_slow_start_are_no_matter(tmp_path, caplog):
    assert warnings_of(tmp_path, 'start', caplog, share=0.5) == []


@pytest.mark.parametrize('options', [{'interval': 0}, {'share': 0.0}, {'share': 1.0}])
def test_watch_loader__bad_options(options):
    with pytest.raises(ValueError, match='WatchLoader'):
        WatchLoader(**options)
