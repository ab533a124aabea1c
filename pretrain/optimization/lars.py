"""timm's LARS (arXiv 1708.03888) as used in MAE's probes: vectors get plain momentum."""

from collections.abc import Iterable
from typing import Any

from mmengine.registry import OPTIMIZERS
from timm.optim import Lars
from torch import nn


@OPTIMIZERS.register_module(name='LARS')
def lars(
    params: Iterable[nn.Parameter | dict[str, Any]],
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    trust_coeff: float = 0.001,
) -> Lars:
    """Build the optimizer: a matrix's step is scaled to its norm, biases and norms are neither scaled nor decayed.

    timm alone scales all parameters of a group, or none if it has no weight decay.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        momentum: share of the last step in the next one.
        weight_decay: weight decay of parameters with two or more axes.
        trust_coeff: norm of a step at lr 1 without momentum, divided by the norm of the parameter.
    """
    groups = []
    for entry in params:
        group = entry if isinstance(entry, dict) else {'params': [entry]}
        matrices = [parameter for parameter in group['params'] if parameter.ndim > 1]
        vectors = [parameter for parameter in group['params'] if parameter.ndim <= 1]
        if matrices:
            groups.append({**group, 'params': matrices, 'always_adapt': True})
        if vectors:
            groups.append({**group, 'params': vectors, 'always_adapt': False, 'weight_decay': 0.0})
    return Lars(groups, lr=lr, momentum=momentum, weight_decay=weight_decay, trust_coeff=trust_coeff, eps=0.0)
