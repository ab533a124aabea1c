"""Errors of building name their place in the config."""

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS

from backbones.console.errors import UsageError
from backbones.engine.launch.keys import named_keys

CONFIG = dict(
    model=dict(type='EncoderDecoder', backbone=dict(type='PlainViT', varient='tiny')),
    custom_hooks=[dict(type='EMAHok')],
    train_cfg=dict(max_itres=3),
)


def test_named_keys__arguments_that_a_class_does_not_take():
    cfg = Config(CONFIG)
    with pytest.raises(UsageError) as error, named_keys(cfg):
        MODELS.build(cfg.model.backbone)
    assert str(error.value) == 'model.backbone.varient: PlainViT takes no varient; did you mean variant?'
    with pytest.raises(UsageError, match=r'^train_cfg.max_itres: Loop takes no max_itres$'), named_keys(cfg):
        raise TypeError("Loop.__init__() got an unexpected keyword argument 'max_itres'")


def test_named_keys__types_that_are_not_registered():
    cfg = Config(CONFIG)
    with pytest.raises(UsageError) as error, named_keys(cfg):
        HOOKS.build(cfg.custom_hooks[0])
    assert str(error.value) == 'custom_hooks.0.type: there is no EMAHok; did you mean EMAHook?'


def test_named_keys__other_errors_pass():
    for error in (
        TypeError('a < b'),
        KeyError('mask'),
        ValueError('x'),
        TypeError("f() got an unexpected keyword argument 'zz'"),
    ):
        with pytest.raises(type(error)) as found, named_keys(Config(CONFIG)):
            raise error
        assert found.value is error


def test_named_keys__data_that_make_no_batch():
    cfg = Config(dict(train_dataloader=dict(batch_size=32)))
    with pytest.raises(UsageError, match=r'do not make one batch of train_dataloader\.batch_size=32'), named_keys(cfg):
        raise AssertionError('`epoch_length` must be a positive integer, but got 0.')
