"""Rate of linear layers by both kernels of `backbones.vit.linear`, forward and with backward, on a CPU in float32.

The kernels take turns on the same inputs, after their outputs were compared. The rates are from the fastest round.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from backbones.vit.linear import LEAST_PRODUCTS, LEAST_TOKENS, conv_linear, conv_wanted
from downstream.benches.measure import alternate, check_equal

Layer = Callable[[Tensor, Tensor, Tensor], Tensor]
KERNELS: dict[str, Layer] = {'matmul': F.linear, 'conv': conv_linear}
# Difference that float32 may leave, as a share of the largest value.
TOLERANCE = 1e-5


def layers(width: int) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of the four linear layers of a block."""
    return {
        'qkv': (width, 3 * width),
        'proj': (width, width),
        'fc1': (width, 4 * width),
        'fc2': (4 * width, width),
    }


def with_backward(layer: Layer, inputs: tuple[Tensor, Tensor, Tensor], slope: Tensor) -> tuple[Tensor, ...]:
    """Compute the output, and its derivatives with respect to all inputs."""
    output = layer(*inputs)
    return output.detach(), *torch.autograd.grad(output, inputs, slope)


def rates(tokens: int, size: tuple[int, int], seconds: float) -> dict[str, dict[str, float]]:
    """GFLOP/s of both kernels on one layer, 'forward' and 'with backward'.

    Raises:
        RuntimeError: the kernels disagree.
    """
    inputs, outputs = size
    values = torch.randn(tokens, inputs), torch.randn(outputs, inputs) / inputs**0.5, torch.randn(outputs)
    leaves = values[0].requires_grad_(), values[1].requires_grad_(), values[2].requires_grad_()
    slope = torch.randn(tokens, outputs)
    results = [with_backward(layer, leaves, slope) for layer in KERNELS.values()]
    for plain, other in zip(*results, strict=True):
        check_equal(other, plain, TOLERANCE, 'linear layer')
    products = tokens * inputs * outputs
    runs = {
        'forward': (2, {name: torch.no_grad()(partial(layer, *leaves)) for name, layer in KERNELS.items()}),
        'with backward': (6, {name: partial(with_backward, layer, leaves, slope) for name, layer in KERNELS.items()}),
    }
    found = {}
    for what, (flops, kernels) in runs.items():
        taken = alternate(kernels, seconds / 2)
        found[what] = {name: flops * products / min(times) / 1e9 for name, times in taken.items()}
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this bench."""
    parser.add_argument('--width', type=int, default=768, help='of the ViT; 768 is ViT-B')
    parser.add_argument('--tokens', type=int, nargs='+', default=[50, 200, 800, 3200], help='of the whole batch')
    parser.add_argument('--seconds', type=float, default=2.0, help='for each layer and number of tokens')


def measure(args: argparse.Namespace) -> None:
    """Print a line per layer and number of tokens."""
    print(f'torch {torch.__version__}, {torch.get_num_threads()} thread(s), float32; GFLOP/s matmul -> conv')
    kernel = 'conv' if conv_wanted() else 'matmul'
    print(f'from {LEAST_TOKENS} tokens and {LEAST_PRODUCTS} products on, this machine takes {kernel}')
    for tokens in args.tokens:
        for name, size in layers(args.width).items():
            found = rates(tokens, size, args.seconds)
            text = '   '.join(f'{what} {r["matmul"]:6.1f} -> {r["conv"]:6.1f}' for what, r in found.items())
            print(
                f'{tokens:6} tokens  {name:4} {tokens * size[0] * size[1] / 2**20:8.1f} M products   {text}', flush=True
            )
