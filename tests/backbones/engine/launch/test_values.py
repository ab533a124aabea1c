"""Values that would train nothing, or something else, without a word."""

import math

import pytest
from mmengine.config import Config

from backbones.console.errors import UsageError
from backbones.engine.launch.values import check_values
from downstream.cli.train import parse_args, prepare
from tests.conftest import ROOT

GOOD = dict(
    train_cfg=dict(max_iters=3, val_interval=1),
    optim_wrapper=dict(
        accumulative_counts=2, optimizer=dict(type='AdamW', lr=0.0, betas=(0.9, 0.95)), clip_grad=dict(max_norm=1)
    ),
    default_hooks=dict(checkpoint=dict(interval=-1), logger=None),
    custom_hooks=[dict(type='A')],
    log_level='WARNING',
)


@pytest.mark.parametrize('changes', [{}, {'custom_hooks': None}, {'optim_wrapper.clip_grad': None}])
def test_check_values__what_is_allowed(changes):
    cfg = Config(GOOD)
    cfg.merge_from_dict(changes)
    check_values(cfg)


@pytest.mark.parametrize(
    ('key', 'values', 'told'),
    [
        ('train_cfg.max_iters', (0, -4, 2.5, True), 'a whole number above 0'),
        ('train_cfg.max_epochs', (0, -2, 1.5), 'a whole number above 0'),
        ('train_cfg.val_interval', (0, -3), 'a whole number above 0'),
        ('default_hooks.checkpoint.interval', (0, -2, 0.5), 'a whole number above 0, or -1'),
        ('optim_wrapper.accumulative_counts', (0, -3, 1.5), 'a whole number above 0'),
        ('optim_wrapper.optimizer.lr', (-1, math.nan, math.inf, [1], 'x'), 'a number from 0'),
        ('optim_wrapper.optimizer.betas', (0.9, (0.9, 2), '(0.9,0.95)', (0.9,)), 'two numbers from 0, below 1'),
        ('optim_wrapper.optimizer', (3,), 'a dict with type and lr'),
        ('optim_wrapper.clip_grad.max_norm', (0, -1, math.nan), 'a number above 0'),
        ('log_level', ('LOUD', 'info'), 'one of DEBUG'),
    ],
)
def test_check_values__what_is_not(key, values, told):
    for value in values:
        cfg = Config(GOOD)
        node = cfg
        *path, last = key.split('.')
        for name in path:
            node = node[name]
        node[last] = value
        with pytest.raises(UsageError, match=f'{key}=.*: it has to be {told}'):
            check_values(cfg)


@pytest.mark.parametrize(
    ('hooks', 'told'),
    [
        ([3], 'custom_hooks.0=3 is no hook'),
        ([dict(type='A'), dict(typ='B')], 'custom_hooks.1=.* is no hook: it has to be a dict with type'),
        (dict(type='A'), 'custom_hooks=.* a list'),
    ],
)
def test_check_values__hooks(hooks, told):
    cfg = Config(GOOD)
    cfg.custom_hooks = hooks
    with pytest.raises(UsageError, match=told):
        check_values(cfg)


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (['--cfg-options', 'train_cfg.max_epochs=-2'], r'train_cfg.max_epochs=-2: it has to be a whole number above 0'),
        (['--cfg-options', 'optim_wrapper.optimizer.lr=nan'], r'optim_wrapper.optimizer.lr=nan: it has to be a number'),
        (['--cfg-options', 'model=3'], r'model=3: it is a dict; set its entries, such as model\.type='),
        (['--lr', 'inf'], r'--lr inf is no number'),
    ],
)
def test_train__values_are_looked_at_first(tmp_path, options, told):
    config = str(ROOT / 'pretrain/configs/mae_tiny.py')
    with pytest.raises(UsageError, match=told):
        prepare(parse_args([config, '--data-root', str(tmp_path), '--work-dir', str(tmp_path / 'w'), *options]))
