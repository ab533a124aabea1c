"""Whole checkpoints against models and data, told in a line."""

import torch
from torch import nn

from backbones.engine.launch.fit import misfit, other_classes


def model(width=3):
    return nn.Sequential(nn.Linear(2, width), nn.Linear(width, 1))


def test_misfit__what_differs():
    assert misfit({'state_dict': model().state_dict()}, model()) is None
    assert misfit({f'module.{name}': value for name, value in model().state_dict().items()}, model()) is None
    state = model(4).state_dict() | {'extra': torch.zeros(1)}
    del state['1.bias']
    assert misfit({'state_dict': state}, model()) == (
        '3 of another shape (0.weight (4, 2) in the file, (3, 2) in the model, 0.bias (4,) in the file, (3,) in the '
        'model, 1.weight (1, 4) in the file, (1, 3) in the model), 1 missing (1.bias), 1 that the model lacks (extra)'
    )


def test_misfit__another_model_altogether():
    other = {'state_dict': {f'x{i}': torch.zeros(1) for i in range(300)}}
    assert misfit(other, model()) == (
        'none of its 300 weights (x0, x1, x2, ...) is one of the model (0.weight, 0.bias, 1.weight, ...)'
    )


def test_other_classes__names_and_order():
    content = {'meta': {'dataset_meta': {'classes': ['cat', 'dog']}}}
    assert other_classes(content, ('cat', 'dog')) is None
    assert other_classes({}, ('cat',)) is None
    assert (
        other_classes(content, ('dog', 'cat'))
        == 'it is of 2 classes (cat, dog), the data in another order of 2 (dog, cat)'
    )
    assert other_classes(content, ('cow',)) == 'it is of 2 classes (cat, dog), the data of 1 (cow)'
