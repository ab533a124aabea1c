"""Parameter groups, and the learning rate through mmengine's own Runner."""

import math

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from pretrain.methods.mae import MaskedAutoencoder

BASE_LR = 1.5e-4


class Toy(BaseModel):
    """One parameter of each kind."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.norm = nn.LayerNorm(3)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 3))
        self.pos_embed = nn.Parameter(torch.zeros(1, 4, 3), requires_grad=False)

    def forward(self, inputs, data_samples=None, mode='loss'):
        return {'loss': (self.norm(self.linear(inputs)) + self.mask_token[0]).square().mean()}


class Rows(Dataset):
    metainfo = {}

    def __len__(self):
        return 24

    def __getitem__(self, index):
        return {'inputs': torch.tensor([1.0, index])}


def wrapper_cfg(**changes):
    adamw = dict(type='AdamW', lr=BASE_LR, betas=(0.9, 0.95), weight_decay=0.05)
    return dict(type='OptimWrapper', optimizer=adamw, constructor='PretrainOptim', **changes)


def settings(model, optimizer):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for parameter in group['params']
    }


def test_pretrain_optim__table():
    model = Toy()
    optimizer = build_optim_wrapper(model, wrapper_cfg()).optimizer
    assert settings(model, optimizer) == {
        'linear.weight': (1.5e-4, 0.05),
        'linear.bias': (1.5e-4, 0.0),
        'norm.weight': (1.5e-4, 0.0),
        'norm.bias': (1.5e-4, 0.0),
        'mask_token': (1.5e-4, 0.05),
    }
    assert len(optimizer.param_groups) == 2
    assert optimizer.param_groups[0]['betas'] == (0.9, 0.95)


def test_pretrain_optim__mae_decays_tokens_and_matrices_only():
    sizes = dict(embed_dim=24, depth=1, num_heads=3)
    model = MaskedAutoencoder(dict(type='PlainViT', variant=sizes, img_size=32, out_norm=True), dict(depth=1))
    table = settings(model, build_optim_wrapper(model, wrapper_cfg()).optimizer)
    decayed = {name for name, (_, decay) in table.items() if decay}
    assert {'encoder.cls_token', 'decoder.mask_token', 'encoder.patch_embed.proj.weight'} <= decayed
    assert not [name for name in decayed if name.endswith('bias') or 'norm' in name]
    assert set(table) == {name for name, p in model.named_parameters() if p.requires_grad}
    assert 'encoder.pos_embed' not in table


def test_pretrain_optim__undecayed_parameters_of_beit():
    sizes = dict(embed_dim=24, depth=1, num_heads=3)
    model = MaskedAutoencoder(dict(type='PlainViT', variant=sizes, img_size=32, out_norm=True), dict(depth=1))
    spared = wrapper_cfg(paramwise_cfg=dict(undecayed=['cls_token', 'pos_embed']))
    tables = [settings(model, build_optim_wrapper(model, cfg).optimizer) for cfg in (wrapper_cfg(), spared)]
    changed = {name for name in tables[0] if tables[0][name] != tables[1][name]}
    assert changed == {'encoder.cls_token'}
    assert tables[1]['encoder.cls_token'][1] == 0


def test_pretrain_optim__refuses_paramwise_cfg():
    with pytest.raises(ValueError, match='takes undecayed alone'):
        build_optim_wrapper(Toy(), wrapper_cfg(paramwise_cfg=dict(norm_decay_mult=0)))


def test_pretrain_optim__needs_a_base_lr():
    with pytest.raises(ValueError, match='needs lr'):
        build_optim_wrapper(Toy(), dict(type='OptimWrapper', optimizer=dict(type='AdamW'), constructor='PretrainOptim'))


class SeenLrs:
    """Records the lr that each training step used."""

    def __init__(self, runner):
        self.values = []
        step = runner.model.train_step

        def recorded(data, optim_wrapper):
            self.values.append(optim_wrapper.optimizer.param_groups[0]['lr'])
            return step(data, optim_wrapper)

        runner.model.train_step = recorded


def runner_for(work_dir, batch_size=4, accumulation=1, max_epochs=5, **more):
    return Runner(
        Toy(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=batch_size,
            num_workers=0,
            dataset=Rows(),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs),
        optim_wrapper=wrapper_cfg(accumulative_counts=accumulation),
        auto_scale_lr=dict(enable=True, base_batch_size=256),
        param_scheduler=[
            dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
            dict(
                type='CosineAnnealingLR',
                eta_min=0.0,
                by_epoch=True,
                begin=2,
                T_max=3,
                end=5,
                convert_to_iter_based=True,
            ),
        ],
        experiment_name=f'{work_dir.name}_{batch_size}_{accumulation}_{max_epochs}',
        default_scope='mmengine',
        **more,
    )


@pytest.mark.parametrize(('batch_size', 'accumulation'), [(4, 1), (8, 1), (4, 3)])
def test_learning_rate__warm_up_then_cosine_per_iteration_to_zero(tmp_path, batch_size, accumulation):
    runner = runner_for(tmp_path, batch_size, accumulation)
    seen = SeenLrs(runner)
    runner.train()
    per_epoch, peak = 24 // batch_size, BASE_LR * batch_size * accumulation / 256
    warm, total = 2 * per_epoch, 5 * per_epoch
    assert len(seen.values) == total
    for step, lr in enumerate(seen.values):
        if step < warm:
            expected = peak * (1e-6 + (1 - 1e-6) * step / (warm - 1))
        else:
            expected = peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))
        assert lr == pytest.approx(expected, rel=1e-6, abs=1e-14), step


def test_learning_rate__counts_the_processes(tmp_path, monkeypatch):
    runner = runner_for(tmp_path)
    # The runner asks its environment for the number of processes once; eight here.
    monkeypatch.setattr(runner, '_world_size', 8)
    wrapper = runner.build_optim_wrapper(wrapper_cfg(accumulative_counts=3))
    runner.scale_lr(wrapper, runner.auto_scale_lr)
    assert wrapper.optimizer.param_groups[0]['lr'] == pytest.approx(BASE_LR * 4 * 8 * 3 / 256)


def test_learning_rate__resumed_run_does_not_scale_twice(tmp_path):
    whole = runner_for(tmp_path / 'whole', accumulation=3)
    seen = SeenLrs(whole)
    whole.train()
    runner_for(tmp_path / 'part', accumulation=3, max_epochs=3).train()
    rest = runner_for(tmp_path / 'part', accumulation=3, load_from=str(tmp_path / 'part' / 'epoch_3.pth'), resume=True)
    seen_rest = SeenLrs(rest)
    rest.train()
    assert seen_rest.values == pytest.approx(seen.values[18:], rel=1e-9, abs=1e-15)
