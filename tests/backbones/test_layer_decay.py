"""Layer decay: every number of a small model, the recipes' exemptions, and lrs as schedulers leave them."""

import copy
import logging
from types import SimpleNamespace

import pytest
import timm
import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from timm.optim import param_groups_layer_decay
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from backbones import PlainViT
from backbones.layer_decay import PRESETS, DecayRule, Row, decay_table, param_groups
from backbones.pyramid import LayerNorm2d

TOY = dict(embed_dim=24, depth=2, num_heads=2)
BLOCK = [
    f'{part}.{kind}'
    for part in ('norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2')
    for kind in ('weight', 'bias')
]


class Detector(BaseModel):
    """The least that looks like a detector: backbone, pyramid, head."""

    def __init__(self, **options):
        super().__init__()
        self.backbone = PlainViT(TOY, img_size=32, patch_size=8, **options)
        self.neck = nn.Sequential(nn.Conv2d(24, 8, 1), LayerNorm2d(8))
        self.head = nn.Linear(8, 3)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.head(self.neck(self.backbone(inputs)[0]).mean(dim=(2, 3)))


def optim_cfg(lr=0.8, weight_decay=0.1, **paramwise):
    return dict(
        optimizer=dict(type='AdamW', lr=lr, weight_decay=weight_decay),
        constructor='LayerWiseDecay',
        paramwise_cfg=dict(decay_rate=0.5, **paramwise),
    )


def settings(optim_wrapper, model):
    """Parameter name -> (lr, weight decay) as the optimizer has them."""
    names = {id(p): name for name, p in model.named_parameters()}
    found = [
        (names[id(p)], group['lr'], group['weight_decay'])
        for group in optim_wrapper.optimizer.param_groups
        for p in group['params']
    ]
    assert len(found) == len({name for name, *_ in found})
    return {name: (lr, weight_decay) for name, lr, weight_decay in found}


def test_layer_wise_decay__every_number_of_a_two_block_model():
    model = Detector(out_norm=True)
    actual = settings(build_optim_wrapper(model, optim_cfg()), model)
    assert actual == {
        'backbone.cls_token': (0.1, 0.0),
        'backbone.pos_embed': (0.1, 0.0),
        'backbone.patch_embed.proj.weight': (0.1, 0.1),
        'backbone.patch_embed.proj.bias': (0.1, 0.0),
        'backbone.blocks.0.norm1.weight': (0.2, 0.0),
        'backbone.blocks.0.norm1.bias': (0.2, 0.0),
        'backbone.blocks.0.attn.qkv.weight': (0.2, 0.1),
        'backbone.blocks.0.attn.qkv.bias': (0.2, 0.0),
        'backbone.blocks.0.attn.proj.weight': (0.2, 0.1),
        'backbone.blocks.0.attn.proj.bias': (0.2, 0.0),
        'backbone.blocks.0.norm2.weight': (0.2, 0.0),
        'backbone.blocks.0.norm2.bias': (0.2, 0.0),
        'backbone.blocks.0.mlp.fc1.weight': (0.2, 0.1),
        'backbone.blocks.0.mlp.fc1.bias': (0.2, 0.0),
        'backbone.blocks.0.mlp.fc2.weight': (0.2, 0.1),
        'backbone.blocks.0.mlp.fc2.bias': (0.2, 0.0),
        'backbone.blocks.1.norm1.weight': (0.4, 0.0),
        'backbone.blocks.1.norm1.bias': (0.4, 0.0),
        'backbone.blocks.1.attn.qkv.weight': (0.4, 0.1),
        'backbone.blocks.1.attn.qkv.bias': (0.4, 0.0),
        'backbone.blocks.1.attn.proj.weight': (0.4, 0.1),
        'backbone.blocks.1.attn.proj.bias': (0.4, 0.0),
        'backbone.blocks.1.norm2.weight': (0.4, 0.0),
        'backbone.blocks.1.norm2.bias': (0.4, 0.0),
        'backbone.blocks.1.mlp.fc1.weight': (0.4, 0.1),
        'backbone.blocks.1.mlp.fc1.bias': (0.4, 0.0),
        'backbone.blocks.1.mlp.fc2.weight': (0.4, 0.1),
        'backbone.blocks.1.mlp.fc2.bias': (0.4, 0.0),
        'backbone.norm.weight': (0.8, 0.0),
        'backbone.norm.bias': (0.8, 0.0),
        'neck.0.weight': (0.8, 0.1),
        'neck.0.bias': (0.8, 0.0),
        'neck.1.weight': (0.8, 0.0),
        'neck.1.bias': (0.8, 0.0),
        'head.weight': (0.8, 0.1),
        'head.bias': (0.8, 0.0),
    }


def test_param_groups__the_same_for_any_optimizer():
    model = Detector(out_norm=True)
    expected = settings(build_optim_wrapper(model, optim_cfg()), model)
    groups = param_groups(model, DecayRule(lr=0.8, weight_decay=0.1, decay_rate=0.5))
    optimizer = torch.optim.SGD(groups, lr=7.0)
    assert settings(SimpleNamespace(optimizer=optimizer), model) == expected
    # One group per pair of rate and decay, the full rate first.
    pairs = [(group['lr'], group['weight_decay']) for group in groups]
    assert len(pairs) == len(set(pairs)) == 8 and pairs[0] == (0.8, 0.1)


def test_decay_table__rows_in_order():
    rows = decay_table(
        nn.Sequential(PlainViT(TOY, img_size=32, patch_size=8), nn.Linear(2, 2)), DecayRule(0.8, 0.1, 0.5)
    )
    assert rows[0] == Row('0.cls_token', 0, 0.1, 0.0)
    assert rows[4] == Row('0.blocks.0.norm1.weight', 1, 0.2, 0.0)
    assert rows[-2] == Row('1.weight', 3, 0.8, 0.1)
    assert len(rows) == 4 + 2 * 12 + 2


# Which parts of a ViTDet-like model each recipe decays; rows of the field's recipes that were run.
DECAYED = {
    'mae': {'patch.weight', 'qkv.weight', 'neck.weight', 'head.weight'},
    'vitdet': {
        *('patch.weight', 'patch.bias', 'qkv.weight', 'qkv.bias', 'rel_pos'),
        *('neck.weight', 'neck.norm', 'head.weight', 'head.bias'),
    },
    'vitdet_huge': {
        *('pos_embed', 'patch.weight', 'patch.bias', 'norm1', 'qkv.weight', 'qkv.bias', 'rel_pos'),
        *('neck.weight', 'neck.norm', 'head.weight', 'head.bias'),
    },
    'mmdet': {
        *('patch.weight', 'patch.bias', 'qkv.weight', 'qkv.bias', 'rel_pos', 'neck.weight', 'head.weight', 'head.bias'),
    },
    'beit_classify': {'patch.weight', 'qkv.weight', 'rel_pos', 'neck.weight', 'head.weight'},
    'beit': {'pos_embed', 'patch.weight', 'qkv.weight', 'rel_pos', 'neck.weight', 'head.weight'},
}
PARTS = {
    'pos_embed': 'backbone.pos_embed',
    'patch.weight': 'backbone.patch_embed.proj.weight',
    'patch.bias': 'backbone.patch_embed.proj.bias',
    'norm1': 'backbone.blocks.0.norm1.weight',
    'qkv.weight': 'backbone.blocks.0.attn.qkv.weight',
    'qkv.bias': 'backbone.blocks.0.attn.qkv.bias',
    'rel_pos': 'backbone.blocks.0.attn.rel_pos_h',
    'neck.weight': 'neck.0.weight',
    'neck.norm': 'neck.1.weight',
    'head.weight': 'head.weight',
    'head.bias': 'head.bias',
}


def test_decayed__every_preset():
    assert DECAYED.keys() == PRESETS.keys()


@pytest.mark.parametrize('preset', DECAYED)
def test_layer_wise_decay__presets(preset):
    model = Detector(window_size=2, rel_pos='decomposed')
    actual = settings(build_optim_wrapper(model, optim_cfg(preset=preset)), model)
    assert {part for part, name in PARTS.items() if actual[name][1]} == DECAYED[preset]
    assert {decay for _, decay in actual.values()} <= {0.0, 0.1}


class MeanClassifier(nn.Module):
    """The parameters of MAE's fine-tuning: the norm is the pooled features' own."""

    def __init__(self):
        super().__init__()
        self.backbone = PlainViT('tiny', img_size=32, patch_size=8)
        self.fc_norm, self.head = nn.LayerNorm(192), nn.Linear(192, 3)


def test_layer_wise_decay__mae_as_timms_groups():
    theirs = timm.create_model(
        'vit_tiny_patch16_224', img_size=32, patch_size=8, num_classes=3, global_pool='avg', fc_norm=True
    )
    names = {id(parameter): name for name, parameter in theirs.named_parameters()}
    expected = {
        names[id(parameter)]: (group['lr_scale'], group['weight_decay'])
        for group in param_groups_layer_decay(theirs, 0.1, ['pos_embed', 'cls_token'], layer_decay=0.75)
        for parameter in group['params']
    }
    rows = decay_table(MeanClassifier(), DecayRule(1.0, 0.1, 0.75))
    actual = {row.name.removeprefix('backbone.'): (row.lr, row.weight_decay) for row in rows}
    assert actual.keys() == expected.keys() and len(actual) == 4 + 12 * 12 + 4
    for name, (rate, decay) in expected.items():
        assert actual[name] == (pytest.approx(rate, rel=1e-12), decay), name


BEIT = dict(layer_scale=0.1, use_abs_pos=False)


@pytest.mark.parametrize(('preset', 'decay'), [('mae', 0.0), ('beit', 0.1), ('beit_classify', 0.1)])
def test_layer_wise_decay__tables_and_layer_scale_of_beit(preset, decay):
    model = Detector(rel_pos='table', **BEIT)
    actual = settings(build_optim_wrapper(model, optim_cfg(preset=preset)), model)
    for block, lr in enumerate((0.2, 0.4)):
        name = f'backbone.blocks.{block}'
        assert actual[f'{name}.attn.relative_position_bias_table'] == (lr, decay)
        assert [actual[f'{name}.gamma_{i}'] for i in (1, 2)] == [(lr, 0.0)] * 2
    model = Detector(rel_pos='shared_table', **BEIT)
    actual = settings(build_optim_wrapper(model, optim_cfg(preset=preset)), model)
    assert actual['backbone.rel_pos_bias.relative_position_bias_table'] == (0.8, decay)


@pytest.mark.parametrize(('preset', 'decay'), [('mae', 0.0), ('beit', 0.1), ('beit_classify', 0.0)])
def test_layer_wise_decay__class_token(preset, decay):
    model = Detector()
    assert settings(build_optim_wrapper(model, optim_cfg(preset=preset)), model)['backbone.cls_token'] == (0.1, decay)


def test_layer_wise_decay__few_groups_full_rate_first():
    model = Detector(window_size=2, rel_pos='decomposed')
    wrapper = build_optim_wrapper(model, optim_cfg())
    groups = [(g['lr'], g['weight_decay'], len(g['params'])) for g in wrapper.optimizer.param_groups]
    assert groups == [
        (0.8, 0.1, 2),
        (0.8, 0.0, 4),
        (0.4, 0.1, 4),
        (0.4, 0.0, 10),
        (0.2, 0.1, 4),
        (0.2, 0.0, 10),
        (0.1, 0.1, 1),
        (0.1, 0.0, 2),
    ]
    # What mmengine's logger shows as base_lr and lr.
    assert wrapper.get_lr()['base_lr'] == [0.8]
    assert wrapper.get_lr()['lr'][0] == 0.8


def test_layer_wise_decay__frozen_parameters_left_out():
    model = Detector(frozen_blocks=1)
    actual = settings(build_optim_wrapper(model, optim_cfg()), model)
    assert {name.split('.')[2] for name in actual if name.startswith('backbone.')} == {'1'}
    assert len(actual) == 12 + 6


def test_layer_wise_decay__rate_of_one_is_off():
    model = Detector()
    cfg = optim_cfg()
    cfg['paramwise_cfg']['decay_rate'] = 1.0
    assert {lr for lr, _ in settings(build_optim_wrapper(model, cfg), model).values()} == {0.8}


def test_layer_wise_decay__config_is_not_changed():
    model, cfg = Detector(), optim_cfg(preset='vitdet')
    before = copy.deepcopy(cfg)
    first = settings(build_optim_wrapper(model, cfg), model)
    assert settings(build_optim_wrapper(model, cfg), model) == first
    assert cfg == before


class Wrapped(nn.Module):
    """What DistributedDataParallel looks like to the constructor, without a process group."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def compiled(module):
    return torch.compile(module, backend='eager')


def with_compiled_parts(model):
    model.backbone.blocks[1] = compiled(model.backbone.blocks[1])
    model.backbone = compiled(model.backbone)
    return model


def with_checkpointed_blocks(model):
    model.backbone.blocks = nn.ModuleList(checkpoint_wrapper(block) for block in model.backbone.blocks)
    assert any('_checkpoint_wrapped_module.' in name for name, _ in model.named_parameters())
    return model


@pytest.mark.parametrize(
    'wrap',
    [
        *(Wrapped, compiled, lambda m: Wrapped(compiled(m)), lambda m: compiled(Wrapped(m))),
        *(with_compiled_parts, with_checkpointed_blocks, lambda m: compiled(with_checkpointed_blocks(m))),
    ],
)
def test_layer_wise_decay__wrapped_models(wrap):
    expected = decay_table(Detector(), DecayRule(0.8, 0.1, 0.5))
    model = Detector()
    parameters = dict(model.named_parameters())
    wrapper = build_optim_wrapper(wrap(model), optim_cfg())
    by_id = {id(p): (g['lr'], g['weight_decay']) for g in wrapper.optimizer.param_groups for p in g['params']}
    assert [by_id[id(parameters[row.name])] for row in expected] == [(row.lr, row.weight_decay) for row in expected]
    assert len(by_id) == len(expected)


@pytest.mark.parametrize('wrap', [with_compiled_parts, with_checkpointed_blocks])
def test_decay_table__names_and_depths_of_wrapped_parts(wrap):
    rule = DecayRule(0.8, 0.1, 0.5)
    assert decay_table(wrap(Detector()), rule) == decay_table(Detector(), rule)


def test_layer_wise_decay__table_logged_once(caplog):
    logger = MMLogger.get_instance('layer_decay_test')
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        build_optim_wrapper(Detector(window_size=2, rel_pos='decomposed'), optim_cfg())
    logger.removeHandler(caplog.handler)
    (record,) = caplog.records
    assert record.getMessage().splitlines() == [
        'LayerWiseDecay: rate 0.5, preset mae, 8 groups',
        '  depth         lr   decay tensors  first',
        '      3        0.8     0.1       2  neck.0.weight',
        '      3        0.8       0       4  neck.0.bias',
        '      2        0.4     0.1       4  backbone.blocks.1.attn.qkv.weight',
        '      2        0.4       0      10  backbone.blocks.1.norm1.weight',
        '      1        0.2     0.1       4  backbone.blocks.0.attn.qkv.weight',
        '      1        0.2       0      10  backbone.blocks.0.norm1.weight',
        '      0        0.1     0.1       1  backbone.patch_embed.proj.weight',
        '      0        0.1       0       2  backbone.pos_embed',
    ]


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        (dict(paramwise_cfg=dict(decay_rate=0.5, num_layers=12)), 'num_layers'),
        (dict(paramwise_cfg=dict(preset='mae')), 'decay_rate'),
        (dict(paramwise_cfg=dict(decay_rate=1.5)), 'decay_rate=1.5'),
        (dict(paramwise_cfg=dict(decay_rate=0.0)), 'decay_rate=0.0'),
        (dict(paramwise_cfg=dict(decay_rate=0.5, preset='vit')), "preset='vit' is unknown: use one of mae, vitdet"),
        (dict(optimizer=dict(type='AdamW', lr=0.1)), 'weight_decay'),
        (dict(optimizer=dict(type='AdamW', weight_decay=0.1)), 'lr'),
    ],
)
def test_layer_wise_decay__bad_config(change, told):
    with pytest.raises(ValueError, match=told):
        build_optim_wrapper(Detector(), optim_cfg() | change)


def test_layer_wise_decay__model_without_backbone_or_with_two():
    with pytest.raises(ValueError, match='Linear has 0'):
        build_optim_wrapper(nn.Linear(2, 2), optim_cfg())
    vit = PlainViT(TOY, img_size=32, patch_size=8)
    with pytest.raises(ValueError, match='Sequential has 2'):
        build_optim_wrapper(nn.Sequential(vit, copy.deepcopy(vit)), optim_cfg())


class Forgetful(PlainViT):
    """A backbone of a user's with a parameter its own rule does not know."""

    def param_depth(self, name):
        return -1 if name == 'cls_token' else super().param_depth(name)


def test_layer_wise_decay__parameter_without_rule():
    with pytest.raises(ValueError, match=r"Forgetful.param_depth\('cls_token'\) is -1, outside 0..3"):
        build_optim_wrapper(Forgetful(TOY, img_size=32, patch_size=8), optim_cfg())


# Schedules


WARM_UP = dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=5)
KEEP_RATIOS = {
    'multi_step': [WARM_UP, dict(type='MultiStepLR', by_epoch=False, milestones=[12, 18], gamma=0.1)],
    'cosine': [WARM_UP, dict(type='CosineAnnealingLR', by_epoch=False, begin=5, end=24, eta_min=0)],
    'cosine_ratio': [WARM_UP, dict(type='CosineAnnealingLR', by_epoch=False, begin=5, end=24, eta_min_ratio=0.01)],
    'poly': [WARM_UP, dict(type='PolyLR', power=1.0, by_epoch=False, begin=5, end=24)],
}
# 0.8 * share of the full rate after 20 steps.
AFTER_20 = {
    'multi_step': 0.8 * 0.01,
    'cosine': 0.8 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * 15 / 19)).item()),
    'cosine_ratio': 0.8 * (0.01 + 0.99 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * 15 / 19)).item())),
    'poly': 0.8 * 3 / 18,  # mmengine's PolyLR ends one step early
}


def lrs_over_time(schedulers, steps):
    """Per step, the learning rates at depth 0 (1/8 of the full one), at depth 3 and of the logger's base_lr."""
    wrapper = build_optim_wrapper(Detector(), optim_cfg())
    built = [PARAM_SCHEDULERS.build(dict(s, optimizer=wrapper)) for s in schedulers]
    for _ in range(steps):
        wrapper.optimizer.step()
        for scheduler in built:
            scheduler.step()
        groups = wrapper.optimizer.param_groups
        yield groups[-1]['lr'], groups[0]['lr'], wrapper.get_lr()['base_lr'][0]


@pytest.mark.parametrize('name', KEEP_RATIOS)
def test_layer_wise_decay__schedules_keep_the_ratios(name):
    rates = list(lrs_over_time(KEEP_RATIOS[name], 20))
    for low, full, base in rates:
        assert low / full == pytest.approx(0.125, rel=1e-9)
        assert full == pytest.approx(base, rel=1e-9)
    assert rates[-1][1] == pytest.approx(AFTER_20[name], rel=1e-5)


def test_layer_wise_decay__absolute_eta_min_breaks_the_ratios():
    # Why no shipped schedule sets eta_min: the floor of 0.2 lifts depth 0 above the rate of 0.1 it started from.
    schedule = [dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=20, eta_min=0.2)]
    low, full, _ = list(lrs_over_time(schedule, 20))[-1]
    assert low == pytest.approx(0.2, rel=0.01)
    assert low / full == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize('preset', ['mae', 'vitdet'])
def test_layer_wise_decay__positions_over_the_image_as_those_of_windows(preset):
    model = Detector(window_size=2, window_abs_pos=True)
    found = settings(build_optim_wrapper(model, optim_cfg(preset=preset)), model)
    assert found['backbone.global_pos_embed'] == found['backbone.pos_embed'] == (0.1, 0.0)
