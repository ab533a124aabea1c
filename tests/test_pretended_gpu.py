"""The pretended GPU computes what the CPU does, and refuses what a GPU refuses; so do PyTorch's fake tensors."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.helpers import fake_cuda
from tests.pretended_gpu import pretended_gpu

# Of a matrix (3, 4) on the GPU, and of its device.
REFUSED = {
    'sum with the CPU': lambda x, gpu: x + torch.zeros(3, 4),
    'in place': lambda x, gpu: x.add_(torch.zeros(4)),
    'into the CPU': lambda x, gpu: torch.zeros(3, 4).add_(x),
    'product': lambda x, gpu: x @ torch.ones(4, 2),
    'concatenated': lambda x, gpu: torch.cat([x, torch.zeros(3, 4)]),
    'stacked numbers': lambda x, gpu: torch.stack([x.sum(), torch.tensor(1.0)]),
    'chosen': lambda x, gpu: torch.where(torch.ones(3, 4, dtype=torch.bool), x, x),
    'gathered': lambda x, gpu: x.gather(1, torch.zeros(3, 1, dtype=torch.long)),
    'of the CPU, indexed': lambda x, gpu: torch.zeros(3)[x.argmax(dim=1)],
    'loss': lambda x, gpu: F.cross_entropy(x, torch.zeros(3, dtype=torch.long)),
    'layer left behind': lambda x, gpu: nn.Linear(4, 2)(x),
    'norm left behind': lambda x, gpu: nn.LayerNorm(4)(x),
}
# PyTorch's fake tensors let pass what its GPUs refuse.
FAKE_ALLOWS = ('stacked numbers', 'of the CPU, indexed')
ALLOWED = {
    'number': lambda x, gpu: x + torch.tensor(2.0),
    'indexed by the CPU': lambda x, gpu: x[torch.tensor([2, 0])],
    'made there': lambda x, gpu: x + torch.ones(3, 4, device=x.device),
    'made like it': lambda x, gpu: torch.cat([x, x.new_zeros(1, 4), torch.zeros_like(x), x.new_tensor([[1, 2, 3, 4]])]),
    'moved': lambda x, gpu: torch.ones(4).to(gpu) * x * torch.ones(4).to(x),
    'moved with its type': lambda x, gpu: torch.ones(4, dtype=torch.int).to(gpu, torch.float32, non_blocking=True) * x,
    'written': lambda x, gpu: x.clone().copy_(torch.ones(3, 4)),
    'one hot': lambda x, gpu: F.one_hot(x.argmax(dim=1), 4) * x,
    'resized': lambda x, gpu: F.interpolate(x[None, None], scale_factor=2.0, mode='bilinear'),
    'layer': lambda x, gpu: nn.Linear(4, 2, device=gpu)(x).detach(),
    'part of a view': lambda x, gpu: x.view(2, 6)[:, 1:].t() + x.reshape(-1)[:2],
}


@pytest.mark.parametrize('device', [pretended_gpu, fake_cuda])
@pytest.mark.parametrize('case', REFUSED)
def test_two_devices__are_refused(case, device):
    if device is fake_cuda and case in FAKE_ALLOWS:
        pytest.skip('only a GPU refuses this')
    with device() as gpu:
        matrix = torch.randn(3, 4).to(gpu)
        with pytest.raises(RuntimeError, match=r'device|cuda:0'):
            REFUSED[case](matrix, gpu)


@pytest.mark.parametrize('device', [pretended_gpu, fake_cuda])
@pytest.mark.parametrize('case', ALLOWED)
def test_one_device__is_allowed(case, device):
    with device() as gpu:
        result = ALLOWED[case](torch.randn(3, 4).to(gpu), gpu)
        assert result.device == gpu and result.is_cuda and not result.is_cpu


@pytest.mark.parametrize('case', ALLOWED)
def test_values__as_on_the_cpu(case):
    matrix = torch.randn(3, 4)
    torch.manual_seed(1)
    expected = ALLOWED[case](matrix, torch.device('cpu'))
    torch.manual_seed(1)
    with pretended_gpu() as gpu:
        result = ALLOWED[case](matrix.to(gpu), gpu).cpu()
        assert result.device.type == 'cpu' and result.numpy().any()
    assert torch.equal(result, expected)


def test_backward__and_the_optimizer():
    layer, images = nn.Linear(4, 2), torch.randn(3, 4)
    layer(images).square().sum().backward()
    expected = layer.weight.grad.clone()
    layer.zero_grad()
    with pretended_gpu() as gpu:
        layer.to(gpu)
        optimizer = torch.optim.AdamW(layer.parameters(), fused=True)
        layer(images.to(gpu)).square().sum().backward()
        optimizer.step()
        assert layer.weight.grad.is_cuda and optimizer.state[layer.weight]['exp_avg'].is_cuda
        layer.weight.grad = None
        scale = nn.Parameter(torch.ones(3, 1))
        with pytest.raises(RuntimeError, match='cuda:0'):
            layer(images.to(gpu)).mul(scale).sum()
        torch.testing.assert_close(optimizer.state[layer.weight]['exp_avg'].cpu() / 0.1, expected)


def test_host__gpus_are_copied_first():
    with pretended_gpu() as gpu:
        numbers = torch.arange(3).to(gpu)
        with pytest.raises(TypeError, match='copy it to the CPU first'):
            numbers.numpy()
        assert numbers.cpu().numpy().tolist() == numbers.tolist() == [0, 1, 2]
        assert (numbers.cpu() + torch.ones(3)).device.type == 'cpu'
        with pytest.raises(RuntimeError, match='generator'):
            torch.rand(3, generator=torch.Generator(), device=gpu)
