"""The benchmark: its rows, its budget, and each bench on toys."""

import json
from dataclasses import replace

import pytest
import torch

from downstream.benches import detect, optimizer, pretrain
from downstream.benches.claims import Bench, Claim
from downstream.benches.measure import alternate, check_equal, count_flops, matmul_rate, peak_mib, ratio, summary
from downstream.cli import benchmark

TOY = dict(embed_dim=48, depth=4, num_heads=3)
CLAIM = Claim('work', 'peer', 'cpu', '<= 0.70 x time')


def test_claim__is_met():
    assert CLAIM.is_met(0.7)
    assert not CLAIM.is_met(0.71)
    other = replace(CLAIM, target='>= 1.6 x images/s')
    assert other.is_met(1.6)
    assert not other.is_met(1.59)


def test_claim__row():
    row = {'work': 'work', 'peer': 'peer', 'device': 'cpu', 'target': '<= 0.70 x time'}
    assert CLAIM.row((0.81239, {'a': 1})) == row | {'measured': 0.8124, 'met': False, 'detail': {'a': 1}}
    assert CLAIM.row((None, {'reason': 'x'})) == row | {'measured': None, 'met': None, 'detail': {'reason': 'x'}}


def test_run_all__shares_what_is_left_and_survives_a_failure(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(benchmark.time, 'monotonic', lambda: clock[0])
    given = []

    def spend(seconds):
        given.append(seconds)
        clock[0] += 40
        return [(0.5, {})]

    def fail(seconds):
        raise RuntimeError('they differ')

    benches = [
        Bench((CLAIM,), spend),
        Bench((CLAIM,), fail, share=2),
        Bench((CLAIM,), spend, needs=('no_such_module',)),
        Bench((CLAIM,), spend),
        Bench((CLAIM,), spend),
    ]
    rows = benchmark.run_all(benches, 75)
    # of 75 s a fifth; then 35 s, half of it for each of the last two, of which the first takes more
    assert given == [15, 17.5]
    assert [row['measured'] for row in rows] == [0.5, None, None, 0.5, None]
    reasons = [row['detail'].get('reason') for row in rows]
    assert reasons == [None, 'RuntimeError: they differ', 'not installed: no_such_module', None, 'the budget is spent']


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without CUDA')
def test_run_bench__no_device():
    claim = replace(CLAIM, device='cuda')
    (row,) = benchmark.run_bench(Bench((claim,), lambda seconds: [(1.0, {})]), 1)
    assert row['detail'] == {'reason': 'no CUDA device'}
    assert benchmark.line(row) == '| work | peer | cuda | <= 0.70 x time | not measured (no CUDA device) |  |'


def test_main__table_and_json(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(optimizer, 'BENCHES', (Bench((CLAIM,), lambda seconds: [(0.31, {'rounds': 3})]),))
    benchmark.main(['optimizer', '--budget', '5', '--json', str(tmp_path / 'new' / 'rows.json')])
    assert '| work | peer | cpu | <= 0.70 x time | 0.31 | yes |' in capsys.readouterr().out
    report = json.loads((tmp_path / 'new' / 'rows.json').read_text())
    assert report['rows'] == [CLAIM.row((0.31, {'rounds': 3}))]
    assert report['versions']['torch'] == torch.__version__.split('+')[0]
    assert report['threads'] == torch.get_num_threads()


def test_benches__claims_have_readable_targets():
    for kind in benchmark.KINDS:
        for bench in benchmark.benches_of(kind):
            assert len({claim.device for claim in bench.claims}) == 1
            for claim in bench.claims:
                assert claim.target.split()[0] in ('<=', '>=')
                claim.is_met(1.0)


def test_alternate__turns_around_and_stops(monkeypatch):
    order = []
    taken = alternate({'a': lambda: order.append('a'), 'b': lambda: order.append('b')}, seconds=0)
    assert order == ['b', 'a', 'a', 'b']
    assert [len(values) for values in taken.values()] == [2, 2]
    assert ratio({'ours': [1.0, 2.0, 9.0], 'peer': [4.0]}) == 0.5
    assert summary([1.0, 2.0, 9.0]) == {'median_s': 2.0, 'min_s': 1.0, 'max_s': 9.0, 'rounds': 3}


def test_peak_mib__of_tensors_alive_at_once():
    def run():
        first = torch.zeros(2**18)  # 1 MiB
        second = first + 1
        del first
        return second * 2

    assert peak_mib(run) == pytest.approx(2, abs=0.01)


def test_count_flops__and_rate():
    left, right = torch.randn(4, 5), torch.randn(5, 6)
    assert count_flops(lambda: left @ right) == 2 * 4 * 5 * 6
    assert matmul_rate('cpu', torch.float32, 0.0) > 1e8
    assert matmul_rate('cpu', torch.bfloat16, 0.01) > 1e7


def test_check_equal__refuses():
    ones = torch.ones(3)
    assert check_equal(ones * 1.001, ones, 0.01, 'maps') == pytest.approx(0.001, rel=1e-3)
    with pytest.raises(RuntimeError, match=r'maps: ours and the peer differ by 0\.1 > 0\.01'):
        check_equal(ones * 1.1, ones, 0.01, 'maps')
    with pytest.raises(RuntimeError, match='nothing to compare'):
        check_equal(torch.ones(2), ones, 0.01, 'maps')
    with pytest.raises(RuntimeError, match='differ by nan'):
        check_equal(ones * torch.nan, ones, 0.01, 'maps')


@pytest.mark.parametrize('ours', [torch.float32, torch.bfloat16])
def test_pretrain__step(ours):
    (speed, detail), (share, _) = pretrain.run(pretrain.Case(TOY, batch=2, img_size=64, ours=ours), 0.0)
    assert speed == pytest.approx(detail['peer']['median_s'] / detail['ours']['median_s'], rel=0.05)
    assert 0 < share < 1
    # encoder 12 D^2 per token and block, decoder alike, 5 of 17 tokens seen, x 2 x 3 for forward and backward
    layers = 12 * (5 * 4 * 48**2 + 17 * 8 * 512**2)
    assert detail['model_gflop_per_image'] == pytest.approx(6 * layers / 1e9, rel=0.1)
    limit = 1e-4 if ours is torch.float32 else 5e-2
    assert detail['loss_difference'] < limit


@pytest.mark.slow
def test_detect__forward_and_backward():
    case = detect.Case(TOY, side=240)
    assert case.global_blocks == (0, 1, 2, 3)
    case = detect.Case(TOY | dict(depth=8), side=240)
    assert case.global_blocks == (1, 3, 5, 7)
    (time, detail), (memory, _) = detect.run_forward(case, 0.0)
    assert time == pytest.approx(detail['ours']['median_s'] / detail['peer']['median_s'], rel=0.05)
    assert memory == pytest.approx(detail['ours']['peak_mib'] / detail['peer']['peak_mib'], rel=0.1)
    assert detail['difference'] < 1e-4
    findings = detect.run_train(case, 0.0)
    assert [figure > 0 for figure, _ in findings] == [True] * 3


def test_optimizer__step():
    ((time, detail),) = optimizer.run(TOY, 'cpu', 0.0)
    assert time > 0
    assert detail['difference'] < 1e-5
    assert detail['groups']['ours'] < 20 < detail['groups']['peer']
