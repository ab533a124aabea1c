"""Small helpers for tests; nothing here imports the code under test."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.data import Dataset


def randomise(module: nn.Module, seed: int = 0, buffers: bool = True) -> nn.Module:
    """Give every parameter and running statistic a random value: initial zeros and ones would hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in (*module.named_parameters(), *(module.named_buffers() if buffers else ())):
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


class Pictures(Dataset):
    """Twelve fixed images of 16 x 24 in float64, of three classes in turn."""

    metainfo = dict(classes=('a', 'b', 'c'))

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(index)
        return {'inputs': torch.randn(3, 16, 24, generator=generator).double(), 'data_samples': index % 3}


def picture_loader(batch_size: int) -> dict:
    """mmengine's config that reads `Pictures` in order."""
    return dict(
        batch_size=batch_size,
        num_workers=0,
        dataset=Pictures(),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )


def warm_cosine(step: int, warm: int, total: int, lr: float, min_lr: float = 0.0) -> float:
    """Linear warm-up over ``warm`` steps, the last of them at the full rate, then a half cosine down to ``min_lr``."""
    if step < warm:
        return lr * (1e-6 + (1 - 1e-6) * step / (warm - 1))
    return min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected magnitude."""
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def random_functional(tensors: tuple[Tensor, ...], seed: int = 1) -> Tensor:
    """A fixed random linear functional of some outputs: its gradient sees every output."""
    generator = torch.Generator().manual_seed(seed)
    terms = [(t * torch.randn(t.shape, generator=generator, dtype=t.dtype)).sum() for t in tensors]
    return torch.stack(terms).sum()


@contextmanager
def fake_cuda() -> Iterator[torch.device]:
    """Tensors without memory on a GPU that need not exist: operators still refuse tensors of two devices.

    Skips where PyTorch asks the driver even for these, as 2.6 does for slices.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        try:
            torch.empty(2, device='cuda')[:1]
        except RuntimeError:
            pytest.skip('this PyTorch has no fake tensors on a GPU that does not exist')
        yield torch.device('cuda', 0)
