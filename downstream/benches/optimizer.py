"""The optimizer's step with layer-wise decay against one group per parameter."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from backbones.engine.layer_decay import LayerWiseDecay
from backbones.vit import PlainViT
from downstream.benches.claims import Bench, Claim, Finding
from downstream.benches.measure import alternate, check_equal, ratio, summary

WEIGHT_DECAY, LR, RATE = 0.05, 1e-4, 0.75


class Detector(nn.Module):
    """A model with a backbone, as layer decay expects it."""

    def __init__(self, variant: str | dict[str, int]) -> None:
        super().__init__()
        self.backbone = PlainViT(variant)


def build_ours(model: nn.Module) -> torch.optim.Optimizer:
    """Build our constructor's optimizer: fused, with one group for all parameters of equal lr and decay."""
    settings = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=LR, weight_decay=WEIGHT_DECAY, fused=True))
    return LayerWiseDecay(settings, dict(decay_rate=RATE))(model).optimizer


def build_peer(ours: torch.optim.Optimizer) -> tuple[torch.optim.Optimizer, list[tuple[nn.Parameter, nn.Parameter]]]:
    """Build PyTorch's AdamW like other layer-decay constructors, one group per parameter, on copies of the parameters.

    Returns:
        the optimizer, and each of our parameters with its copy; the gradients of both are the same random numbers.
    """
    groups, pairs = [], []
    for group in ours.param_groups:
        for parameter in group['params']:
            copy = nn.Parameter(parameter.detach().clone())
            parameter.grad = torch.randn_like(parameter)
            copy.grad = parameter.grad.clone()
            groups.append({'params': [copy], 'lr': group['lr'], 'weight_decay': group['weight_decay']})
            pairs.append((parameter, copy))
    return torch.optim.AdamW(groups), pairs


def run(variant: str | dict[str, int], device: str, seconds: float) -> Sequence[Finding]:
    """Our time for one step over the peer's."""
    model = Detector(variant).to(device)
    ours = build_ours(model)
    peer, pairs = build_peer(ours)
    ours.step()
    peer.step()
    difference = max(check_equal(a.detach(), e.detach(), 1e-5, 'parameters after one step') for a, e in pairs)
    taken = alternate({'ours': ours.step, 'peer': peer.step}, seconds, device)
    detail = {'difference': difference, 'groups': {'ours': len(ours.param_groups), 'peer': len(peer.param_groups)}}
    return [(ratio(taken), detail | {name: summary(values) for name, values in taken.items()})]


def bench(device: str) -> Bench:
    """The step of ViT-B on a device."""
    claim = Claim('optimizer step ViT-B, layer decay', 'one group per parameter, plain AdamW', device, '<= 0.60 x time')
    return Bench((claim,), partial(run, 'base', device), share=0.3)


BENCHES = (bench('cpu'), bench('cuda'))
