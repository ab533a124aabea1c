"""A tiny model, its data and a runner; imports nothing of ours, so that unrepaired mmengine can be run with it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

ROOT = Path(__file__).resolve().parents[3]


class Model(BaseModel):
    """A line and its mean square."""

    def __init__(self, norm=nn.BatchNorm1d):
        super().__init__()
        self.line = nn.Linear(3, 2)
        self.norm = norm(2)

    def forward(self, x, mode='loss'):
        y = self.norm(self.line(x))
        if mode == 'loss':
            return {'loss': (y - 1).square().mean()}
        self.dtype_inside = y.dtype
        return [{'y': row} for row in y]


class Data(torch.utils.data.Dataset):
    """Eight points."""

    metainfo = {'classes': ('a', 'b'), 'palette': [(1, 2, 3)]}

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {'x': torch.tensor([index, 1.0, -index])}


class NumpyScore(BaseMetric):
    """Mean prediction, as the numpy scalar that real metrics return."""

    def process(self, data_batch, data_samples):
        self.results += [sample['y'].numpy().sum() for sample in data_samples]

    def compute_metrics(self, results):
        self.count = len(results)
        return {'score': np.float64(np.mean(results))}


def build(work_dir, epochs=1, model=None, **settings):
    """A runner that trains, evaluates and saves after each epoch."""
    loader = {
        'batch_size': 2,
        'dataset': Data(),
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
        'collate_fn': {'type': 'default_collate'},
    }
    evaluation = {}
    for loop in ('val', 'test'):
        evaluation |= {f'{loop}_dataloader': loader, f'{loop}_evaluator': [NumpyScore()], f'{loop}_cfg': {}}
    defaults = {
        **evaluation,
        'train_dataloader': loader,
        'train_cfg': {'by_epoch': True, 'max_epochs': epochs},
        'optim_wrapper': {'optimizer': {'type': 'AdamW', 'lr': 0.1}},
        'param_scheduler': {'type': 'CosineAnnealingLR', 'T_max': 4, 'by_epoch': True},
        'default_hooks': {'checkpoint': {'type': 'CheckpointHook', 'save_best': 'score', 'rule': 'less'}},
        'experiment_name': Path(work_dir).name + str(epochs),
    }
    return Runner(model or Model(), str(work_dir), **{**defaults, **settings})


def run_python(code, *command, cwd=ROOT, **environment):
    """Run code in a fresh process: exit status and all it printed. Its children end with it."""
    process = subprocess.Popen(
        [*(command or (sys.executable, '-c')), code],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, output
