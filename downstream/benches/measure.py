"""Measure our code and a peer's side by side: alternating rounds, medians and spread, peak memory, matmul rate."""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from backbones.vit.linear import linear

Run = Callable[[], object]
# One round says nothing about the spread, and more than this many add nothing.
LEAST_ROUNDS, MOST_ROUNDS = 2, 15
MATMUL_SIDES = {'cpu': (512, 1024, 2048), 'cuda': (2048, 4096, 8192)}


def wait(device: str) -> None:
    """Wait until the device has done its work."""
    if device == 'cuda':
        torch.cuda.synchronize()


def alternate(runs: Mapping[str, Run], seconds: float, device: str = 'cpu') -> dict[str, list[float]]:
    """Time some runs in turn until the time is spent; the order is reversed every other round.

    Call each run once before this, because the first call costs more than the next.

    Args:
        runs: what to time, by name.
        seconds: time to spend; at least `LEAST_ROUNDS` are always made.
        device: 'cpu' or 'cuda'.

    Returns:
        wall seconds of each round, by name.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    start = time.perf_counter()
    for index in range(MOST_ROUNDS):
        spent = time.perf_counter() - start
        if index >= LEAST_ROUNDS and spent * (index + 1) / index > seconds:
            break
        for name in list(runs)[:: 1 if index % 2 else -1]:
            wait(device)
            begin = time.perf_counter()
            runs[name]()
            wait(device)
            taken[name].append(time.perf_counter() - begin)
    return taken


def summary(seconds: list[float]) -> dict:
    """Median and spread of the rounds of one run, in seconds."""
    return {
        'median_s': round(statistics.median(seconds), 4),
        'min_s': round(min(seconds), 4),
        'max_s': round(max(seconds), 4),
        'rounds': len(seconds),
    }


def ratio(taken: Mapping[str, list[float]], ours: str = 'ours', peer: str = 'peer') -> float:
    """Our median time over the peer's."""
    return statistics.median(taken[ours]) / statistics.median(taken[peer])


def peak_mib(run: Run, device: str = 'cpu') -> float:
    """Largest memory of tensors alive at once during one call, beyond those alive before, in MiB.

    On a GPU the allocator counts it. On a CPU PyTorch's profiler counts every allocation of a tensor, but not the
    workspaces of kernels.
    """
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        wait(device)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    assert profile.profiler is not None and profile.profiler.kineto_results is not None
    alive = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == '[memory]':
            alive += event.nbytes()
            peak = max(peak, alive)
    return peak / 2**20


def matmul_rate(device: str, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """FLOP/s of square matrix products on the device: the best of several, with the faster kernel of `linear`.

    The sides grow only while a product takes less than ``seconds``, because a bf16 product takes minutes on processors
    without bf16.
    """
    best = 0.0
    for side in MATMUL_SIDES[device]:
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        runs = {'matmul': partial(torch.matmul, left, right), 'linear': partial(linear, left, right)}
        taken = [time for rounds in alternate(runs, seconds, device).values() for time in rounds]
        best = max(best, 2 * side**3 / min(taken))
        if max(taken) > seconds:
            break
    return best


class _Flops(TorchDispatchMode):
    """Adds up torch's formulas. `FlopCounterMode` is not used: it hooks every module, which changes their code path."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


def count_flops(run: Run) -> int:
    """FLOPs of the matrix products, convolutions and attentions of one call, including backward if it is run."""
    with _Flops() as counter:
        run()
    return counter.total


def largest_difference(ours: Tensor, peer: Tensor) -> float:
    """Largest difference of two tensors, divided by the largest value of the peer's."""
    return float((ours.float() - peer.float()).abs().max() / peer.float().abs().max())


def check_equal(ours: Tensor, peer: Tensor, tolerance: float, what: str) -> float:
    """Refuse to time two runs with different results.

    Returns:
        their `largest_difference`.

    Raises:
        RuntimeError: the difference is above the tolerance, or the shapes differ.
    """
    if ours.shape != peer.shape:
        raise RuntimeError(f'{what}: ours is {tuple(ours.shape)}, the peer {tuple(peer.shape)}: nothing to compare')
    difference = largest_difference(ours, peer)
    if not difference <= tolerance:
        raise RuntimeError(f'{what}: ours and the peer differ by {difference:.2g} > {tolerance:.2g}: not timed')
    return difference
