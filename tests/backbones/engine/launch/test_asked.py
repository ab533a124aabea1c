"""Options of the command line against what flags work out."""

from mmengine.config import Config

from backbones.engine.launch.asked import Asked

CONFIG = dict(a=dict(b=1, c=dict(d=2)), hooks=[dict(type='A', n=1)], classes=('x', 'y'))


def asked(options):
    cfg = Config(CONFIG)
    cfg.merge_from_dict(options)
    return cfg, Asked(cfg, options)


def test_asked__values_of_the_options_come_back_and_others_stay():
    cfg, options = asked({'a.b': 5, 'a.c': dict(d=6), 'hooks.0.n': 7, 'classes': ('p',)})
    cfg.a = dict(b=8, c=dict(d=9, e=10), f=11)
    cfg.hooks[0].n = 12
    cfg.classes = ('q', 'r')
    told = options.keep(cfg, '--flag')
    assert cfg.to_dict() == dict(
        a=dict(b=5, c=dict(d=6, e=10), f=11), hooks=[dict(type='A', n=7)], classes=('p',)
    )  # fmt: skip
    assert told == [
        'a.b = 5, as --cfg-options says; --flag would set 8',
        'a.c.d = 6, as --cfg-options says; --flag would set 9',
        'hooks.0.n = 7, as --cfg-options says; --flag would set 12',
        "classes = ('p',), as --cfg-options says; --flag would set ('q', 'r')",
    ]
    assert options.keep(cfg, '--flag') == []


def test_asked__values_changed_in_place_and_lists_that_grow():
    cfg, options = asked({'a.c': dict(d=6), 'hooks': [dict(type='B')]})
    cfg.a.c.update(d=0)
    cfg.hooks.append(dict(type='C'))
    assert options.keep(cfg, '--flag') == ['a.c.d = 6, as --cfg-options says; --flag would set 0']
    assert [hook['type'] for hook in cfg.hooks] == ['B', 'C']


def test_asked__what_a_flag_takes_away_stays_away():
    cfg, options = asked({'a.c.d': 6})
    cfg.a = dict(b=1)
    assert options.keep(cfg, '--flag') == []
    assert cfg.a == dict(b=1)
