import re

import pytest
import torch

from downstream.benches import linear as benchmark_linear
from downstream.cli.benchmark import main


def test_rates__of_both_kernels():
    found = benchmark_linear.rates(6, (8, 5), 0.01)
    assert {what: set(rates) for what, rates in found.items()} == {
        'forward': {'matmul', 'conv'},
        'with backward': {'matmul', 'conv'},
    }
    assert all(rate > 0 for rates in found.values() for rate in rates.values())


def test_rates__refuses_kernels_that_disagree(monkeypatch):
    monkeypatch.setitem(benchmark_linear.KERNELS, 'conv', lambda x, w, b: torch.nn.functional.linear(x, w, 2 * b))
    with pytest.raises(RuntimeError, match='differ by'):
        benchmark_linear.rates(6, (8, 5), 0.01)


def test_main__a_line_per_layer(capsys):
    main(['linear', '--width', '8', '--tokens', '3', '7', '--seconds', '0.01'])
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r'from 128 tokens and 33554432 products on, this machine takes (conv|matmul)', lines[1])
    assert [line.split()[0::2][:1] + line.split()[2:3] for line in lines[2:]] == [
        [tokens, name] for tokens in ('3', '7') for name in ('qkv', 'proj', 'fc1', 'fc2')
    ]
