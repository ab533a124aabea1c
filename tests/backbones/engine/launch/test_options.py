"""--cfg-options: what reaches the config, and what is refused."""

import argparse

import pytest
from mmengine.config import Config

from backbones.console.errors import UsageError
from backbones.engine.launch.options import OptionsAction, apply_options

CONFIG = dict(
    model=dict(
        ratio=0.75,
        size=(1, 2),
        target=dict(type='Pixels', norm=True),
        test_cfg=dict(stride=(4, 4), mode='slide'),
        head=dict(loss1=1.0, num=3, score_thr=0.05),
    ),
    custom_hooks=[dict(type='A', n=1), dict(type='B')],
    param_scheduler=[dict(end=1), dict(end=2)],
    clip=None,
    env_cfg=dict(cudnn_benchmark=True),
    randomness=dict(seed=0),
)


def parsed(*texts):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction)
    return parser.parse_args(['--cfg-options', *texts]).cfg_options


def applied(*texts):
    cfg = Config(CONFIG)
    return cfg, apply_options(cfg, parsed(*texts))


def test_action__pairs_in_order_and_over_again():
    assert parsed('a.b=1', 'c=[x,y]', 'a.b=2') == {'a.b': 2, 'c': ['x', 'y']}
    assert parsed('a=b=c', 'd=') == {'a': 'b=c', 'd': ''}


@pytest.mark.parametrize('text', ['a', '=3', 'a..b=1', 'a b=1', 'a=[1'])
def test_action__mistakes(text):
    with pytest.raises(UsageError, match='--cfg-options'):
        parsed(text)


def test_apply_options__values_dicts_and_list_entries():
    cfg, told = applied('model.ratio=0.5', 'param_scheduler.1.end=9', 'model.size=(3,4)', 'clip.max_norm=1')
    assert (cfg.model.ratio, cfg.param_scheduler[1].end, cfg.model.size, cfg.clip) == (0.5, 9, (3, 4), {'max_norm': 1})
    assert cfg.param_scheduler[0].end == 1
    assert told == ['clip.max_norm is new: the config had no such key']


def test_apply_options__a_dict_of_the_same_type_goes_in_and_of_another_replaces():
    cfg, told = applied("model.target=dict(type='Tokens',tokenizer='T')", 'model.test_cfg=dict(mode=whole)')
    assert cfg.model.target == dict(type='Tokens', tokenizer='T')
    assert cfg.model.test_cfg == dict(stride=(4, 4), mode='whole')
    assert told == []
    cfg, _ = applied("model.target=dict(type='Pixels',side=3)", "custom_hooks.0=dict(type='C')")
    assert cfg.model.target == dict(type='Pixels', norm=True, side=3)
    assert cfg.custom_hooks == [dict(type='C'), dict(type='B')]
    cfg, _ = applied('model.target=dict(_delete_=True,x=1)')
    assert cfg.model.target == dict(x=1)


def test_apply_options__tuples_in_quotes_of_their_own():
    cfg, _ = applied('model.size="(3,4)"', 'model.test_cfg.mode="(3,4)"')
    assert cfg.model['size'] == (3, 4)
    assert cfg.model.test_cfg.mode == '(3,4)'


@pytest.mark.parametrize('text', ['model=3', 'model.target=pixels', 'model.head=0.5'])
def test_apply_options__a_dict_is_no_number(text):
    with pytest.raises(UsageError, match='it is a dict; set its entries, such as'):
        applied(text)


def test_apply_options__plus_adds_to_a_list():
    cfg, told = applied("custom_hooks+=dict(type='C',m=2)", "custom_hooks+=[dict(type='D'),dict(type='E')]")
    assert [hook.type for hook in cfg.custom_hooks] == ['A', 'B', 'C', 'D', 'E']
    assert (cfg.custom_hooks[2], told) == (dict(type='C', m=2), [])
    cfg, _ = applied('model.size+=3', 'model.new+=x')
    assert (cfg.model.size, cfg.model.new) == ((1, 2, 3), ['x'])
    with pytest.raises(UsageError, match=r'model.ratio\+=: it is 0.75, and no list'):
        applied('model.ratio+=1')


def test_apply_options__hooks_that_are_replaced_are_named():
    _, told = applied("custom_hooks=[dict(type='C'),dict(type='B')]")
    assert told == ['custom_hooks= replaces A; custom_hooks+= would add to them']


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('param_scheduler.5.end=5', r'param_scheduler has 2 entries, 0 to 1; param_scheduler\+=... adds one'),
        ('param_scheduler.end=5', 'param_scheduler has 2 entries'),
        ('model.ratio.x=1', 'model.ratio is 0.75, which has no entries'),
        ('model.size.0=1', r'model.size is \(1, 2\), which has no entries'),
        ('model.test_cfg.strid=(1,1)', r'did you mean model.test_cfg.stride\?'),
        ('model.test_cfg.mod=whole', r'did you mean model.test_cfg.mode\?'),
        ('model.head.score_thrs=1', r'did you mean model.head.score_thr\?'),
        ('model.head.nums=1', r'did you mean model.head.num\?'),
        ('model.targt.norm=1', r'did you mean model.target\?'),
        ('env_cfg.cudnn_bench=True', r'did you mean env_cfg.cudnn_benchmark\?'),
        ('randomness.sede=1', r'did you mean randomness.seed\?'),
        ('randomness.x=1', 'takes seed, diff_rank_seed, deterministic'),
        ('model.ratio=high', 'model.ratio=high: a number is expected, as the 0.75'),
    ],
)
def test_apply_options__slips_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        applied(text)


def test_apply_options__names_that_differ_by_a_number_are_new_keys():
    cfg, told = applied('model.head.loss2=2.0', 'model.head.other=1')
    assert (cfg.model.head.loss2, cfg.model.head.other) == (2.0, 1)
    assert [line.split()[0] for line in told] == ['model.head.loss2', 'model.head.other']
