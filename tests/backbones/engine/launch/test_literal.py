"""Values of the command line."""

import math

import pytest

from backbones.engine.launch.literal import read_value

VALUES = {
    '1': 1,
    '1e-3': 0.001,
    'True': True,
    'false': False,
    'None': None,
    'none': 'none',
    '': '',
    'a/b c': 'a/b c',
    'C:\\new\\a': 'C:\\new\\a',
    "it's": "it's",
    'x(1).zip': 'x(1).zip',
    '1,2': [1, 2],
    '[a, b]': ['a', 'b'],
    '[1,2,]': [1, 2],
    '[(1, 2), [a,b], c]': [(1, 2), ['a', 'b'], 'c'],
    '(64,64)': (64, 64),
    '(1,)': (1,),
    '[]': [],
    '()': (),
    'dict()': {},
    "'a,b'": 'a,b',
    "'1'": '1',
    "dict(type='TokenTarget',tokenizer='TOKENIZER')": dict(type='TokenTarget', tokenizer='TOKENIZER'),
    "dict(type='A')": dict(type='A'),
    "[dict(type='A',n=[1,2]), dict(type=B)]": [dict(type='A', n=[1, 2]), dict(type='B')],
    "{'a': 1, 'b': {'c': (2, 3)}}": dict(a=1, b=dict(c=(2, 3))),
    "dict(path='a=b,c)', x=dict(y=None))": dict(path='a=b,c)', x=dict(y=None)),
}


@pytest.mark.parametrize('text', VALUES)
def test_read_value__as_written(text):
    found = read_value(text)
    assert found == VALUES[text]
    assert type(found) is type(VALUES[text])


def test_read_value__nan():
    assert math.isnan(read_value('nan'))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('(1,2', r'\) is missing'),
        ('[1)', 'closes no bracket'),
        ("'a,b", "' is missing"),
        ('dict(1,2)', 'takes key=value, not 1'),
        ('{a}', "takes 'key': value, not a"),
    ],
)
def test_read_value__mistakes(text, message):
    with pytest.raises(ValueError, match=message):
        read_value(text)


def test_read_value__nothing_runs():
    assert read_value('__import__("os").getcwd()') == '__import__("os").getcwd()'
    assert read_value("dict(a=open('x'))") == dict(a="open('x')")
