"""Time and memory of every way to attend with relative positions, forward and with backward.

The ways take turns on the same inputs, after their outputs were compared. Seconds are the least of all rounds. On a CPU
this is process time, so that other work on the machine counts little; on a GPU it is wall time. Memory is the largest
sum of tensors alive beyond the inputs, measured by PyTorch's profiler (CPU) or allocator (CUDA). ``plain`` has no
positions.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from backbones.vit.attention import WAYS, attend, choose_way
from backbones.vit.rel_pos import relative_terms
from downstream.benches.measure import peak_mib

# ViTDet's windows, and its global grids for images of 1024 and 512 pixels: (images or windows, grid).
CASES = {'window': (25, (14, 14)), 'global32': (1, (32, 32)), 'global64': (1, (64, 64))}
HEAD_DIM = 64
Run = Callable[[], Tensor]


def make_inputs(case: str, heads: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Make query, key and value as one tensor (3, B, heads, L, d), and the tables of rows and of columns."""
    batch, (height, width) = CASES[case]
    together = torch.randn(batch, height * width, 3, heads, HEAD_DIM, device=device).permute(2, 0, 3, 1, 4)
    tables = [torch.randn(2 * size - 1, HEAD_DIM, device=device) * 0.1 for size in (height, width)]
    return together, tables[0], tables[1]


def forward(way: str, inputs: tuple[Tensor, Tensor, Tensor], grid: tuple[int, int]) -> Tensor:
    """Attend one way."""
    query, key, value = inputs[0].unbind(0)
    if way == 'plain':
        return F.scaled_dot_product_attention(query, key, value)
    return attend(query, key, value, relative_terms(query, inputs[1], inputs[2], grid), way)


def with_backward(way: str, inputs: tuple[Tensor, Tensor, Tensor], grid: tuple[int, int]) -> Tensor:
    """Attend one way, and differentiate with respect to all inputs."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    out = forward(way, (leaves[0], leaves[1], leaves[2]), grid)
    out.backward(torch.ones_like(out))
    return out.detach()


def seconds(run: Run, device: str) -> float:
    """Time one call in seconds."""
    clock = time.process_time if device == 'cpu' else time.perf_counter
    start = clock()
    run()
    if device != 'cpu':
        torch.cuda.synchronize()
    return clock() - start


def measure_case(case: str, heads: int, device: str, rounds: int) -> None:
    """Print the lines of one case."""
    grid, inputs = CASES[case][1], make_inputs(case, heads, device)
    with torch.no_grad():
        outputs = {way: forward(way, inputs, grid) for way in WAYS}
    for way in WAYS:
        torch.testing.assert_close(outputs[way], outputs['bias'], atol=1e-5, rtol=1e-4)
    runs = {}
    for way in (*WAYS, 'plain'):
        runs[way, 'forward'] = torch.no_grad()(lambda way=way: forward(way, inputs, grid))
        runs[way, 'with backward'] = lambda way=way: with_backward(way, inputs, grid)
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            taken[key].append(seconds(run, device))
    for (way, what), run in runs.items():
        chosen = ' (auto)' if way == choose_way(device, HEAD_DIM, grid) else ''
        least = min(taken[way, what])
        print(f'{case:9} {what:14} {way + chosen:14} {least:8.4f} s {peak_mib(run, device):8.0f} MiB', flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this bench."""
    parser.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    parser.add_argument('--heads', type=int, default=12, help='heads of 64 channels; 12 is ViT-B')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--cases', nargs='+', choices=CASES, default=list(CASES))


def measure(args: argparse.Namespace) -> None:
    """Print the lines of all cases."""
    print(f'{args.device}, torch {torch.__version__}, {torch.get_num_threads()} thread(s), float32')
    for case in args.cases:
        measure_case(case, args.heads, args.device, args.rounds)
