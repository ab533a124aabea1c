"""A linear layer that uses the faster of two exact kernels: BLAS's matrix product or oneDNN's 1x1 convolution.

On a CPU, PyTorch runs float32 linear layers in MKL and convolutions in oneDNN. On an AMD EPYC with AVX-512, oneDNN
reaches twice MKL's FLOP/s, forward and backward, for large products (``dense-mae benchmark linear``, docs/speed.md).
On other processors, in bf16 and on GPUs, this is `torch.nn.Linear`.
"""

import functools
import os
import platform
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Environment variable that overrides the choice of `conv_wanted`.
SWITCH = 'DENSE_MAE_LINEAR'
CHOICES = ('', 'conv', 'matmul')
# Below these limits the convolution does not pay: the call costs more than it gains, and with few tokens so does
# reordering the weights for oneDNN.
LEAST_PRODUCTS = 2**25
LEAST_TOKENS = 128
CPU_INFO = Path('/proc/cpuinfo')


def cpu_vendor() -> str:
    """Text that names the processor's maker, such as 'AuthenticAMD', among other things; may be empty."""
    return CPU_INFO.read_text().split('flags')[0] if CPU_INFO.is_file() else platform.processor()


def conv_wanted() -> bool:
    """Whether large products run as convolutions on this CPU; ``DENSE_MAE_LINEAR=conv`` or ``matmul`` overrides it.

    Raises:
        ValueError: the variable holds something else.
    """
    return _decide()


def describe(device: str) -> list[str]:
    """Say in one line which kernel computes large float32 products on a CPU, and why: kernels round differently.

    Args:
        device: kind of device that the models run on; the list is empty for any but 'cpu'.
    """
    if device != 'cpu':
        return []
    kernel = "oneDNN's convolutions" if conv_wanted() else "PyTorch's matrix products"
    choice = os.environ.get(SWITCH, '')
    why = f'{SWITCH}={choice}' if choice else f'by the processor; {SWITCH}=conv or matmul decides otherwise'
    return [f'large linear layers in float32: {kernel} ({why})']


@functools.cache
def _decide() -> bool:
    choice = os.environ.get(SWITCH, '')
    if choice not in CHOICES:
        raise ValueError(f'{SWITCH}={choice}: choose conv or matmul')
    if choice or not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return choice == 'conv'
    return torch.backends.cpu.get_cpu_capability().startswith('AVX512') and 'AuthenticAMD' in cpu_vendor()


def linear(tokens: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map (..., I) to (..., O): ``tokens @ weight.T + bias``.

    Args:
        tokens: (..., I).
        weight: (O, I).
        bias: (O,).
    """
    # A compiled or exported program may run on other sizes and machines, so the choice must not be baked in.
    if not torch.compiler.is_compiling() and tokens.is_cpu and conv_wanted() and _large_float32(tokens, weight):
        return conv_linear(tokens, weight, bias)
    return F.linear(tokens, weight, bias)


def conv_linear(tokens: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute `linear` as a convolution on any processor."""
    # (..., I) -> (1, I, 1, N): an image one pixel high with channels last in memory, so that nothing is copied
    row = tokens.reshape(1, 1, -1, tokens.shape[-1]).permute(0, 3, 1, 2)
    mixed = F.conv2d(row, weight[:, :, None, None], bias)
    # (1, O, 1, N) -> (..., O)
    return mixed.permute(0, 2, 3, 1).reshape(*tokens.shape[:-1], -1)


def _large_float32(tokens: Tensor, weight: Tensor) -> bool:
    outputs, inputs = weight.shape
    large = tokens.numel() >= LEAST_TOKENS * inputs and tokens.numel() * outputs >= LEAST_PRODUCTS
    return large and tokens.dtype is weight.dtype is torch.float32 and not torch.is_autocast_enabled('cpu')


class Linear(nn.Linear):
    """`torch.nn.Linear` computed by `linear`, with the same parameters and initial values."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return linear(tokens, self.weight, self.bias)
