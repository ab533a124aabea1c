"""What starts processes, and how they share a model."""

import os

import pytest
import torch
from mmengine.config import Config

from backbones.console.errors import UsageError
from backbones.engine.launch.processes import STARTED_BY, check_launcher, has_static_graph, set_wrapper
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def nothing_started(monkeypatch):
    for name in [name for names, _ in STARTED_BY.values() for name in names] + ['TORCHELASTIC_RUN_ID', 'LOCAL_RANK']:
        monkeypatch.delenv(name, raising=False)


def start(monkeypatch, launcher, **more):
    for name in STARTED_BY[launcher][0]:
        monkeypatch.setenv(name, '0')
    for name, value in more.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize('launcher', sorted(STARTED_BY))
def test_check_launcher__its_variables(launcher, monkeypatch):
    with pytest.raises(UsageError, match=f'--launcher {launcher} needs .*, .*start with .*(torchrun|srun|mpirun)'):
        check_launcher(launcher)
    start(monkeypatch, launcher)
    check_launcher(launcher)
    missing = STARTED_BY[launcher][0][1]
    monkeypatch.delenv(missing)
    with pytest.raises(UsageError, match=f'needs {missing} in the environment'):
        check_launcher(launcher)


def test_check_launcher__torchrun_without_launcher(monkeypatch):
    check_launcher('none')
    start(monkeypatch, 'pytorch', TORCHELASTIC_RUN_ID='a', WORLD_SIZE='2')
    with pytest.raises(UsageError, match='each of which would train alone: add --launcher pytorch'):
        check_launcher('none')
    monkeypatch.setenv('WORLD_SIZE', '1')
    check_launcher('none')


def test_check_launcher__more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    start(monkeypatch, 'pytorch', LOCAL_RANK='1')
    check_launcher('pytorch')
    monkeypatch.setenv('LOCAL_RANK', '2')
    with pytest.raises(UsageError, match='process 2 of this machine sees 2 GPUs'):
        check_launcher('pytorch')
    start(monkeypatch, 'slurm', SLURM_LOCALID='3')
    with pytest.raises(UsageError, match=r'process 3 of this machine sees 2 GPUs.*--gpus-per-node'):
        check_launcher('slurm')
    assert os.environ['LOCAL_RANK'] == '2'


def config(launcher='pytorch', optimizer='OptimWrapper', **more):
    settings = dict(
        launcher=launcher,
        optim_wrapper=dict(type=optimizer),
        model=dict(type='MaskedAutoencoder', encoder=dict(type='PlainViT')),
        train_dataloader=dict(sampler=dict(type='DefaultSampler')),
    )
    return Config({**settings, **more})


def test_set_wrapper__ddp_by_default():
    cfg = config()
    assert set_wrapper(cfg) == ['each process has the whole model (StaticDDP)']
    assert cfg.model_wrapper_cfg == dict(type='StaticDDP')


@pytest.mark.parametrize(
    'cfg',
    [config('none'), config(find_unused_parameters=True), config(model_wrapper_cfg=dict(type='Own'))],
    ids=['alone', 'unused', 'own'],
)
def test_set_wrapper__leaves_the_choice_of_a_config(cfg):
    before = cfg.get('model_wrapper_cfg')
    assert set_wrapper(cfg) == []
    assert cfg.get('model_wrapper_cfg') == before


def test_set_wrapper__sharded_follows_the_precision():
    for optimizer, dtype in (('OptimWrapper', None), ('BF16OptimWrapper', 'bfloat16')):
        cfg = config(optimizer=optimizer)
        assert f'weights gathered in {dtype or "float32"}' in set_wrapper(cfg, sharded=True)[0]
        assert cfg.model_wrapper_cfg == dict(type='ShardedModel', param_dtype=dtype)


def test_set_wrapper__sharded_mistakes():
    with pytest.raises(UsageError, match=r'several processes: start with torchrun --nproc_per_node N .* --launcher'):
        set_wrapper(config('none'), sharded=True)
    with pytest.raises(UsageError, match=r"this config has {'type': 'Own'} already"):
        set_wrapper(config(model_wrapper_cfg=dict(type='Own')), sharded=True)


@pytest.mark.parametrize(
    'model',
    [
        dict(type='SoftTeacher', detector=dict(backbone=dict(type='PlainViT'))),
        dict(type='mmseg.EncoderDecoder', backbone=dict(type='ResNetV1c')),
        dict(type='Own', backbone=dict(type='PlainViT')),
    ],
    ids=lambda model: model['type'],
)
def test_set_wrapper__other_models_may_change_their_graph(model):
    cfg = config(model=model)
    assert 'MMDistributedDataParallel' in set_wrapper(cfg)[0]
    assert cfg.get('model_wrapper_cfg') is None


def test_set_wrapper__scopes_do_not_matter():
    cfg = config(model=dict(type='mmdet.MaskRCNN', backbone=dict(type='mmdet.PlainViT')))
    set_wrapper(cfg)
    assert cfg.model_wrapper_cfg == dict(type='StaticDDP')


CONFIGS = [path for kind in ('pretrain/configs', 'det_configs', 'seg_configs') for path in (ROOT / kind).glob('*.py')]


@pytest.mark.parametrize('path', [path for path in CONFIGS if path.stem != '__init__'], ids=lambda path: path.stem)
def test_set_wrapper__shipped_configs_have_static_graphs(path):
    assert has_static_graph(Config.fromfile(path).model)


@pytest.mark.parametrize('sharded', [False, True])
def test_set_wrapper__processes_that_would_read_the_same(sharded):
    cfg = config(train_dataloader=dict(sampler=None))
    with pytest.raises(UsageError, match=r'train_dataloader\.sampler is None: every process would read the same'):
        set_wrapper(cfg, sharded)
    set_wrapper(config('none', train_dataloader=dict(sampler=None)))


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('RANK', 'x', 'RANK=x in the environment is no number'),
        ('WORLD_SIZE', '-1', 'WORLD_SIZE=-1 in the environment is no number'),
        ('LOCAL_RANK', 'first', 'LOCAL_RANK=first in the environment is no number'),
        ('RANK', '2', 'RANK=2 in the environment, but WORLD_SIZE=2: ranks count from 0'),
    ],
)
def test_check_launcher__ranks_that_are_none(name, value, message, monkeypatch):
    for known in ('RANK', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.setenv(known, '0')
    monkeypatch.setenv('WORLD_SIZE', '2')
    check_launcher('pytorch')
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        check_launcher('pytorch')
