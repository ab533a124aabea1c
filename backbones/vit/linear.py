"""A linear layer by the faster of two exact kernels: the BLAS's matrix product, or oneDNN's 1x1 convolution.

PyTorch's linear layers in float32 on a CPU run in MKL, its convolutions in oneDNN. On an AMD EPYC with AVX-512 oneDNN
makes twice MKL's FLOP/s, forward and backward, for large products (``dense-mae benchmark linear``, docs/speed.md).
Everywhere else, and in bf16 and on GPUs, this is `torch.nn.Linear`.
"""

import functools
import os
import platform
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Overrides what `conv_wanted` would choose.
SWITCH = 'DENSE_MAE_LINEAR'
CHOICES = ('', 'conv', 'matmul')
# Below, the call costs more than the convolution gains; and few tokens do not pay for bringing the weights into
# oneDNN's order.
LEAST_PRODUCTS = 2**25
LEAST_TOKENS = 128
CPU_INFO = Path('/proc/cpuinfo')


def cpu_vendor() -> str:
    """What the processor says of its maker, such as 'AuthenticAMD' somewhere in a longer text; may be empty."""
    return CPU_INFO.read_text().split('flags')[0] if CPU_INFO.is_file() else platform.processor()


def conv_wanted() -> bool:
    """Whether large products run as convolutions on this CPU; ``DENSE_MAE_LINEAR=conv`` or ``matmul`` decides instead.

    Raises:
        ValueError: the variable holds something else.
    """
    return _decide()


def describe(device: str) -> list[str]:
    """What computes large float32 products on a CPU, and why, in a line: kernels differ in how they round.

    Args:
        device: kind of device that the models run on; for others there is nothing to tell.
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
    # A compiled or exported program serves other sizes and machines: the choice would be baked in.
    if not torch.compiler.is_compiling() and tokens.is_cpu and conv_wanted() and _large_float32(tokens, weight):
        return conv_linear(tokens, weight, bias)
    return F.linear(tokens, weight, bias)


def conv_linear(tokens: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Do as `linear` by a convolution, whatever the processor."""
    # (..., I) -> (1, I, 1, N): an image one pixel high, its channels last in memory, so that nothing is copied
    row = tokens.reshape(1, 1, -1, tokens.shape[-1]).permute(0, 3, 1, 2)
    mixed = F.conv2d(row, weight[:, :, None, None], bias)
    # (1, O, 1, N) -> (..., O)
    return mixed.permute(0, 2, 3, 1).reshape(*tokens.shape[:-1], -1)


def _large_float32(tokens: Tensor, weight: Tensor) -> bool:
    outputs, inputs = weight.shape
    large = tokens.numel() >= LEAST_TOKENS * inputs and tokens.numel() * outputs >= LEAST_PRODUCTS
    return large and tokens.dtype is weight.dtype is torch.float32 and not torch.is_autocast_enabled('cpu')


class Linear(nn.Linear):
    """`torch.nn.Linear` by `linear`: same parameters, same initial values."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return linear(tokens, self.weight, self.bias)
