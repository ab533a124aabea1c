"""Distributed training on CPU, with mmengine's own Runner."""

import sys

import mmengine.dist.utils as dist_utils
import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from torch import nn

from backbones.openmmlab.repairs.mmengine import distributed as repairs_distributed
from tests.backbones.openmmlab.tiny import Model, build, run_python

TWO_PROCESSES = """
import backbones
import torch
from backbones.console.errors import leave_group
from mmengine.dist import all_gather, get_rank
from tests.backbones.openmmlab.tiny import Model, NumpyScore, build

metric = NumpyScore()
runner = build({work_dir!r}, epochs=2, launcher='pytorch', model=Model(torch.nn.SyncBatchNorm), val_evaluator=[metric],
               env_cfg=dict(dist_cfg=dict(backend='nccl')))
runner.train()
weights = all_gather(runner.model.module.line.weight.detach())
assert len(weights) == 2 and torch.equal(*weights), weights
if get_rank() == 0:
    print('backend', torch.distributed.get_backend(), 'evaluated', metric.count, 'iterations', runner.iter)
del runner
leave_group()
"""


@pytest.mark.slow
def test_two_processes__train_and_evaluate(tmp_path):
    """A SyncBN model and the default NCCL, neither of which CPUs have, in a run that only imports us."""
    script = tmp_path / 'script.py'
    script.write_text(TWO_PROCESSES.format(work_dir=str(tmp_path)))
    launcher = (sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2')
    status, output = run_python(str(script), *launcher, CUDA_VISIBLE_DEVICES='-1')
    assert status == 0, output
    assert 'backend gloo evaluated 8 iterations 4' in output, output
    assert torch.load(tmp_path / 'epoch_2.pth', weights_only=True)['meta']['iter'] == 4


pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason='the defects show on machines without a GPU')


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A gloo group of one process."""
    monkeypatch.setenv('LOCAL_RANK', '0')
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/group', rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_init__asks_for_no_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('LOCAL_RANK', '0')
    address = {'init_method': f'file://{tmp_path}/group', 'rank': 0, 'world_size': 1}
    with pytest.raises((RuntimeError, AssertionError)):
        dist_utils._init_dist_pytorch.__wrapped__('gloo', **address)
    assert not torch.distributed.is_initialized()
    dist_utils.init_dist('pytorch', backend='nccl', **address)
    try:
        assert torch.distributed.get_backend() == 'gloo'
    finally:
        torch.distributed.destroy_process_group()


def test_init__of_slurm_asks_for_no_gpu(tmp_path, monkeypatch):
    for name, value in dict(PROCID=0, NTASKS=1, LOCALID=0, NODELIST='here').items():
        monkeypatch.setenv(f'SLURM_{name}', str(value))
    for name in ('MASTER_ADDR', 'MASTER_PORT', 'WORLD_SIZE', 'LOCAL_RANK', 'RANK'):
        monkeypatch.setenv(name, 'localhost')  # restored after the test: mmengine sets them
    address = {'init_method': f'file://{tmp_path}/group', 'rank': 0, 'world_size': 1}
    with pytest.raises((RuntimeError, AssertionError)):
        dist_utils._init_dist_slurm.__wrapped__('gloo', **address)
    set_device = torch.cuda.set_device
    dist_utils.init_dist('slurm', backend='nccl', **address)
    try:
        assert torch.distributed.get_backend() == 'gloo'
    finally:
        torch.distributed.destroy_process_group()
    assert torch.cuda.set_device is set_device


def test_init__leaves_other_frameworks_alone(monkeypatch):
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('LOCAL_RANK', '0')
    with pytest.raises(ValueError, match='init_backend'):
        dist_utils.init_dist('pytorch', backend='gloo', init_backend='unheard of')


def test_init__torch_is_the_users_meanwhile(monkeypatch):
    """Other threads see torch as it is while a group starts; mmengine's module keeps its names too."""
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('LOCAL_RANK', '0')
    set_device, seen = torch.cuda.set_device, []
    monkeypatch.setattr(
        torch.distributed, 'init_process_group', lambda **kwargs: seen.append((kwargs, torch.cuda.set_device))
    )
    dist_utils.init_dist('pytorch', backend='nccl')
    assert seen == [({'backend': 'gloo'}, set_device)]
    assert dist_utils.torch is torch and dist_utils.torch_dist is torch.distributed


def test_init__a_gpu_that_appears_later_is_used(monkeypatch):
    """What is decided, is decided when a group starts."""
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('LOCAL_RANK', '3')
    seen = []
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda **kwargs: seen.append(kwargs))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'set_device', seen.append)
    dist_utils.init_dist('pytorch', backend='nccl')
    assert seen == [3, {'backend': 'nccl'}]


def test_repairs__machines_with_a_gpu_keep_mmengines_functions(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    names = [(dist_utils, f'_init_dist_{name}') for name in repairs_distributed.LAUNCHERS]
    names += [(MMDistributedDataParallel, '__init__'), (Runner, 'wrap_model')]
    before = [getattr(owner, name) for owner, name in names]
    repairs = (
        repairs_distributed.repair_init_without_gpu,
        repairs_distributed.repair_wrapper_on_cpu,
        repairs_distributed.repair_sync_norm_on_cpu,
    )
    assert [repair() for repair in repairs] == [False] * 3
    assert all(getattr(owner, name) is kept for (owner, name), kept in zip(names, before, strict=True))


def test_wrapper__takes_a_model_on_the_cpu(alone, monkeypatch):
    assert MMDistributedDataParallel(module=Model(), device_ids=[0]).device_ids is None
    monkeypatch.setattr(MMDistributedDataParallel, '__init__', MMDistributedDataParallel.__init__.__wrapped__)
    with pytest.raises(ValueError, match='device_ids'):
        MMDistributedDataParallel(module=Model(), device_ids=[0])


def test_sync_norm__becomes_batch_norm(alone, tmp_path, monkeypatch):
    batch = {'x': torch.randn(4, 3)}
    repaired = build(tmp_path, model=Model(nn.SyncBatchNorm))
    repaired._distributed = True
    plain = Model(nn.BatchNorm1d)
    plain.load_state_dict(repaired.model.state_dict())
    wrapped = repaired.wrap_model(None, Model(nn.SyncBatchNorm))
    wrapped.module.load_state_dict(plain.state_dict())
    torch.testing.assert_close(wrapped(**batch)['loss'], plain(**batch)['loss'])

    monkeypatch.setattr(Runner, 'wrap_model', Runner.wrap_model.__wrapped__)
    with pytest.raises(ValueError, match='SyncBatchNorm'):
        repaired.wrap_model(None, Model(nn.SyncBatchNorm))(**batch)
