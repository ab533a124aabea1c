"""Parts of a model compiled before training."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from backbones.engine.compile_hook import CompileParts, compile_part


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 3), nn.GELU())
        self.runs = []

    def losses(self, x):
        self.runs.append(torch.compiler.is_compiling())
        return self.body(x).sum()


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def eager(monkeypatch):
    """No code is generated: the graphs run in eager mode."""
    compile_function = torch.compile
    monkeypatch.setattr(torch, 'compile', lambda target, **kw: compile_function(target, backend='eager', **kw))


def test_compile_part__a_method(eager):
    model, x = Model(), torch.randn(4, 3)
    expected = model.losses(x)
    names = list(model.state_dict())
    compile_part(model, 'losses', dynamic=False)
    torch.testing.assert_close(model.losses(x), expected)
    assert model.runs == [False, True]
    assert list(model.state_dict()) == names


def test_compile_parts__a_submodule_of_a_wrapped_model():
    model = Model()
    names = list(model.state_dict())
    said = []
    runner = SimpleNamespace(model=model, logger=SimpleNamespace(info=said.append))
    CompileParts(['body.0', 'body']).before_train(runner)
    assert model.body._compiled_call_impl is not None
    assert model.body[0]._compiled_call_impl is not None
    assert model.body[1]._compiled_call_impl is None
    assert list(model.state_dict()) == names
    assert said == ['compiled: body.0, body; the first iterations take longer']


def test_compile_part__absent():
    with pytest.raises(ValueError, match=r"Model has no part 'body\.weight' to compile"):
        compile_part(Model(), 'body.weight', dynamic=False)
