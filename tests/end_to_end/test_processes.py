"""Two processes, with DDP or sharded, train as one does, and each resumes what the other has saved."""

import json
import os
import subprocess
import sys

import pytest
import torch

from backbones import PlainViT, load_pretrained
from tests.conftest import ROOT
from tests.end_to_end import process_runs as runs

CAN_SHARD = hasattr(torch.cpu.Stream, 'record_event')
NO_SHARDING = pytest.mark.skipif(not CAN_SHARD, reason='the first versions of FSDP2 need a GPU')
WRAPPERS = ['ddp', pytest.param('sharded', marks=NO_SHARDING)]
TOLERANCE = 1e-5

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason='compares processes on CPUs'),
]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Folder of all runs: of one process in here, of two by torchrun, and of one again from what two have saved."""
    root = tmp_path_factory.mktemp('processes')
    wrappers = ['ddp', 'sharded'] if CAN_SHARD else ['ddp']
    for task in runs.TASKS:
        runs.run(root / f'{task}_one', task)
    runs.run(root / 'accumulate_one', 'classifier', **runs.accumulating(1))
    runs.run(root / 'bf16_one', 'autoencoder', **runs.in_bf16())
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1'}
    done = subprocess.run(
        [*command, runs.__file__, str(root), *wrappers], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-5000:]
    for name in wrappers:
        for task in runs.TASKS:
            runs.run(root / f'{task}_{name}_then_one', task, resume=root / f'{task}_{name}' / runs.MIDDLE[task])
    return root


def curve(folder):
    return json.loads((folder / 'curve.json').read_text())


def last_checkpoint(folder, task):
    return torch.load(folder / runs.LAST[task], weights_only=True)


def furthest(ours, expected, key):
    """Largest difference of a quantity over the iterations; resumed runs have the last ones only."""
    pairs = zip(ours['rows'], expected['rows'][-len(ours['rows']) :], strict=True)
    return max(abs(a[key] - b[key]) for a, b in pairs)


@pytest.mark.parametrize('wrapper', WRAPPERS)
@pytest.mark.parametrize('task', sorted(runs.TASKS))
def test_two__train_as_one(root, task, wrapper):
    one, two = curve(root / f'{task}_one'), curve(root / f'{task}_{wrapper}')
    assert len(one['rows']) == len(two['rows']) == 20
    assert one['rows'][0]['loss'] - one['rows'][-1]['loss'] > 0.05
    assert furthest(two, one, 'loss') <= TOLERANCE


@pytest.mark.parametrize('way', ['resumed', 'then_one'])
@pytest.mark.parametrize('wrapper', WRAPPERS)
@pytest.mark.parametrize('task', sorted(runs.TASKS))
def test_resumed__on_another_number_of_processes(root, task, wrapper, way):
    one, rest = curve(root / f'{task}_one'), curve(root / f'{task}_{wrapper}_{way}')
    assert [row['iteration'] for row in rest['rows']] == list(range(11, 21))
    assert furthest(rest, one, 'loss') <= TOLERANCE


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_classifier__clipped_norm_and_ema_as_in_one(root, wrapper):
    one, two = curve(root / 'classifier_one'), curve(root / f'classifier_{wrapper}')
    assert min(row['norm'] for row in one['rows']) > 0.5  # all of them are clipped
    assert furthest(two, one, 'norm') <= TOLERANCE
    # Evaluated with the averaged weights, 3 images in one process and 2 in the other.
    assert two['logits'] == pytest.approx(one['logits'], abs=TOLERANCE)
    assert abs(one['logits'][1] - one['logits'][0]) > 0.01


def tensors(value, path=''):
    """Every tensor of a checkpoint by its place."""
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from tensors(item, f'{path}.{key}')


@pytest.mark.parametrize('wrapper', WRAPPERS)
@pytest.mark.parametrize('task', sorted(runs.TASKS))
def test_checkpoint__same_layout_and_values(root, task, wrapper):
    one, two = (last_checkpoint(root / f'{task}_{name}', task) for name in ('one', wrapper))
    assert two.keys() == one.keys()
    assert ('ema_state_dict' in one) == (task == 'classifier')
    expected, found = dict(tensors(one)), dict(tensors(two))
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert type(value) is torch.Tensor, name
        # The bias of K has no gradient but rounding, which AdamW blows up; it has no effect either.
        atol = 1e-3 if name.endswith('attn.qkv.bias') else TOLERANCE
        torch.testing.assert_close(value, expected[name], rtol=0, atol=atol)
    groups = [[(g['lr'], g['weight_decay'], g['params']) for g in c['optimizer']['param_groups']] for c in (one, two)]
    assert groups[0] == groups[1]


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_checkpoint__fills_a_backbone(root, wrapper):
    vit = PlainViT(**runs.ENCODER, out_norm=True)
    file = root / f'autoencoder_{wrapper}' / 'epoch_4.pth'
    assert load_pretrained(vit, file).complete
    saved = torch.load(file, weights_only=True)['state_dict']
    assert all(torch.equal(value, saved[f'encoder.{name}']) for name, value in vit.state_dict().items())


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_accumulation__same_weights_as_one_large_batch(root, wrapper):
    one = torch.load(root / 'accumulate_one' / 'iter_4.pth', weights_only=True)['state_dict']
    two = torch.load(root / f'accumulate_{wrapper}' / 'iter_8.pth', weights_only=True)['state_dict']
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=TOLERANCE)


def test_accumulation__ddp_reduces_once_per_update(root):
    calls = [row['calls'].get('allreduce_', 0) for row in curve(root / 'accumulate_ddp')['rows']]
    # One bucket. The first iteration also learns which parameters are in use; from then on only updates communicate.
    assert calls == [2, 1, 0, 1, 0, 1, 0, 1]


@NO_SHARDING
def test_accumulation__sharded_reduces_once_per_update(root):
    calls = [row['calls'].get('_reduce_scatter_base_', 0) for row in curve(root / 'accumulate_sharded')['rows']]
    # Attention and MLP of two blocks that are not frozen, and the rest.
    assert calls == [0, 5, 0, 5, 0, 5, 0, 5]


def test_seeds__differ_between_processes_and_epochs(root):
    seeds = curve(root / 'autoencoder_ddp')['seeds']
    assert len({seed for epoch in seeds for seed in epoch}) == 2 * 4


@NO_SHARDING
def test_bf16__blocks_travel_in_bf16_and_follow_one_process(root):
    one, two = curve(root / 'bf16_one'), curve(root / 'bf16_sharded')
    exact = curve(root / 'autoencoder_one')
    assert (set(one['types']), set(two['types'])) == ({'torch.float32'}, {'torch.bfloat16'})
    assert set(curve(root / 'autoencoder_sharded')['types']) == {'torch.float32'}
    rounding = max(abs(a['loss'] - b['loss']) for a, b in zip(one['rows'], exact['rows'][:5], strict=True))
    assert furthest(two, one, 'loss') <= rounding < 0.01
