"""The same training by one process or by two: what each computes, saves and resumes. Torchrun starts this file.

A global batch holds the same images whatever the number of processes, as mmengine's samplers deal them out in turn.
Crops are left out, and masks are drawn per image from its number, not from the process: arranged for the comparison.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather_object, all_reduce, get_rank, get_world_size, init_dist
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import Dataset

import backbones  # noqa: F401
import pretrain  # noqa: F401
from backbones.console.errors import leave_group
from backbones.vit.layers import Mlp
from pretrain import MaskedAutoencoder

BATCH, STEPS = 4, 20
HEIGHT, WIDTH, PATCH = 48, 64, 16
ENCODER = dict(variant=dict(embed_dim=48, depth=3, num_heads=3), img_size=(HEIGHT, WIDTH))


class Images(Dataset):
    """Random images, their number as label."""

    metainfo = {}

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, HEIGHT, WIDTH), generator=generator, dtype=torch.uint8)
        return {'inputs': image, 'data_samples': index}


@MODELS.register_module(force=True)
class KeyedAutoencoder(MaskedAutoencoder):
    """MAE whose masks belong to the images."""

    def forward(self, inputs, data_samples=None, mode='loss'):
        self.numbers = data_samples
        return super().forward(inputs, data_samples, mode)

    def draw_mask(self, images):
        length = (HEIGHT // PATCH) * (WIDTH // PATCH)
        orders = [torch.randperm(length, generator=torch.Generator().manual_seed(int(i))) for i in self.numbers]
        return torch.stack(orders) < round(length * self.mask_ratio)


@MODELS.register_module(force=True)
class KeyedClassifier(BaseModel):
    """PlainViT and a linear layer on the mean of its map; the label is the image's number modulo 5."""

    def __init__(self, backbone, data_preprocessor):
        super().__init__(data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(self.backbone.embed_dim, 5)

    def forward(self, inputs, data_samples=None, mode='loss'):
        logits = self.head(self.backbone(inputs)[0].mean(dim=(2, 3)))
        if mode == 'predict':
            return [{'logits': row} for row in logits]
        return {'loss': F.cross_entropy(logits, data_samples % 5)}


class MeanLogit(BaseMetric):
    """Weighted mean of all logits: sees every weight of the evaluated model."""

    def process(self, data_batch, data_samples):
        self.results += [(sample['logits'] * torch.arange(1.0, 6)).sum().item() for sample in data_samples]

    def compute_metrics(self, results):
        return {'logit': sum(results) / len(results)}


class Curve(Hook):
    """Loss of the global batch, the norm of the clipped gradients and the communication of each iteration."""

    priority = 'VERY_LOW'

    def __init__(self, count=False):
        self.rows, self.logits, self.seeds, self.types, self.count = [], [], [], [], count

    def before_run(self, runner):
        mlp = next(module for module in runner.model.modules() if isinstance(module, Mlp))
        mlp.register_forward_pre_hook(lambda mlp, inputs: self.types.append(str(mlp.fc1.weight.dtype)))

    def before_train_epoch(self, runner):
        self.seeds.append(all_gather_object(torch.initial_seed()))

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.profile = profile(activities=[ProfilerActivity.CPU])
        if self.count:
            self.profile.start()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        calls = {}
        if self.count:
            self.profile.stop()
            events = self.profile.key_averages()
            calls = {event.key[6:]: event.count for event in events if event.key.startswith('c10d::')}
        loss = outputs['loss'].detach().clone()
        all_reduce(loss, 'mean')
        norms = runner.message_hub.log_scalars.get('train/grad_norm')
        norm = None if norms is None else float(norms.data[0][-1])
        self.rows.append(dict(iteration=runner.iter + 1, loss=loss.item(), norm=norm, calls=calls))

    def after_val_epoch(self, runner, metrics=None):
        self.logits.append(metrics['logit'])


PREPROCESSOR = dict(type='ImgDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3)
CURVE_OF_LR = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5),
    dict(type='CosineAnnealingLR', T_max=15, eta_min=0.0, by_epoch=False, begin=5, end=20),
]


def autoencoder():
    """MAE, epochs of shuffled images; the lr follows the global batch."""
    decoder = dict(embed_dim=32, depth=2, num_heads=2)
    return dict(
        model=dict(type='KeyedAutoencoder', encoder=dict(type='PlainViT', **ENCODER, out_norm=True), decoder=decoder,
                   data_preprocessor=PREPROCESSOR),
        sampler=dict(type='DefaultSampler', shuffle=True),
        train_cfg=dict(by_epoch=True, max_epochs=STEPS // 5),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.05, betas=(0.9, 0.95), weight_decay=0.05),
                           constructor='PretrainOptim'),
        auto_scale_lr=dict(enable=True, base_batch_size=256),
        custom_hooks=[dict(type='SeedEachEpoch')],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=2)),
    )  # fmt: skip


def classifier():
    """Layer decay, clipping, EMA, and an evaluation of 5 images: 3 for one of two processes, 2 for the other."""
    part = dict(batch_size=1, num_workers=0, dataset=Images(5), sampler=dict(type='DefaultSampler', shuffle=False))
    return dict(
        model=dict(type='KeyedClassifier', backbone=dict(type='PlainViT', **ENCODER, rel_pos='table', frozen_blocks=1),
                   data_preprocessor=PREPROCESSOR),
        sampler=dict(type='InfiniteSampler', shuffle=True),
        train_cfg=dict(by_epoch=False, max_iters=STEPS, val_interval=10),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05), constructor='LayerWiseDecay',
                           paramwise_cfg=dict(decay_rate=0.75), clip_grad=dict(max_norm=0.5)),
        val_dataloader=dict(**part, collate_fn=dict(type='default_collate')),
        val_cfg=dict(),
        val_evaluator=[MeanLogit()],
        custom_hooks=[dict(type='EMAHook', momentum=0.1)],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=10)),
    )  # fmt: skip


TASKS = {'autoencoder': autoencoder, 'classifier': classifier}
MIDDLE = {'autoencoder': 'epoch_2.pth', 'classifier': 'iter_10.pth'}
LAST = {'autoencoder': 'epoch_4.pth', 'classifier': 'iter_20.pth'}


def build(work_dir, task, wrapper=None, resume=None, count=False, **changes):
    """A runner for a task; the processes share the batch."""
    settings = TASKS[task]() | changes
    processes = get_world_size()
    accumulated = settings['optim_wrapper'].get('accumulative_counts', 1)
    loader = dict(
        batch_size=BATCH // processes // accumulated, num_workers=0, dataset=Images(STEPS),
        sampler=settings.pop('sampler'), collate_fn=dict(type='default_collate'),
    )  # fmt: skip
    curve = Curve(count)
    runner = Runner(
        work_dir=str(work_dir),
        train_dataloader=loader,
        launcher='none' if processes == 1 else 'pytorch',
        param_scheduler=settings.pop('param_scheduler', CURVE_OF_LR),
        custom_hooks=[*settings.pop('custom_hooks'), curve],
        randomness=dict(seed=3),
        load_from=resume and str(resume),
        resume=resume is not None,
        experiment_name='_'.join(Path(work_dir).parts[-2:]),
        default_scope='mmengine',
        cfg=dict(model_wrapper_cfg=wrapper),
        **settings,
    )
    return runner, curve


def run(work_dir, *args, **kwargs):
    """Train; the first process writes ``curve.json``."""
    runner, curve = build(work_dir, *args, **kwargs)
    runner.train()
    if get_rank() == 0:
        content = dict(rows=curve.rows, logits=curve.logits, seeds=curve.seeds, types=curve.types)
        Path(work_dir, 'curve.json').write_text(json.dumps(content))


def accumulating(counts):
    """A classifier on a constant learning rate, which updates every ``counts`` iterations."""
    optimizer = dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=counts)
    return dict(
        optim_wrapper=optimizer,
        param_scheduler=None,
        train_cfg=dict(by_epoch=False, max_iters=4 * counts),
        val_cfg=None,
        val_dataloader=None,
        val_evaluator=None,
        custom_hooks=[],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=4 * counts)),
    )


def in_bf16():
    """An epoch of the autoencoder under autocast."""
    optimizer = {**autoencoder()['optim_wrapper'], 'type': 'BF16OptimWrapper'}
    return dict(optim_wrapper=optimizer, train_cfg=dict(by_epoch=True, max_epochs=1))


WRAPPERS = {'ddp': dict(type='StaticDDP'), 'sharded': dict(type='ShardedModel')}


def two_processes(root, wrappers):
    """All that two processes do: whole runs, runs resumed from one process, accumulation."""
    for name in wrappers:
        for task in TASKS:
            run(root / f'{task}_{name}', task, WRAPPERS[name])
            run(root / f'{task}_{name}_resumed', task, WRAPPERS[name], root / f'{task}_one' / MIDDLE[task])
        run(root / f'accumulate_{name}', 'classifier', WRAPPERS[name], count=True, **accumulating(2))
        if name == 'sharded':
            run(root / 'bf16_sharded', 'autoencoder', {**WRAPPERS[name], 'param_dtype': 'bfloat16'}, **in_bf16())


if __name__ == '__main__':
    init_dist('pytorch', backend='gloo')
    two_processes(Path(sys.argv[1]), sys.argv[2:])
    leave_group()
