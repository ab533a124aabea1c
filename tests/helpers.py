"""Small helpers for tests; nothing here imports the code under test."""

import torch
from torch import Tensor, nn


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and running statistic a random value: initial zeros and ones would hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith('running_var'):
                value.copy_(0.5 + noise.abs())
            elif 'norm' in name and name.endswith('weight'):
                value.copy_(1 + 0.2 * noise)
            elif value.ndim > 1 and value.shape[0] > 1:
                value.copy_(noise / value[0].numel() ** 0.5)
            else:
                value.copy_(0.2 * noise)
    return module


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected magnitude."""
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def random_functional(tensors: tuple[Tensor, ...], seed: int = 1) -> Tensor:
    """A fixed random linear functional of some outputs: its gradient sees every output."""
    generator = torch.Generator().manual_seed(seed)
    terms = [(t * torch.randn(t.shape, generator=generator, dtype=t.dtype)).sum() for t in tensors]
    return torch.stack(terms).sum()
