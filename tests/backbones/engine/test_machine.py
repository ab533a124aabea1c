"""Configs on machines other than those they are written for."""

import pytest
from mmengine.config import Config

from backbones.engine.machine import fit_machine
from tests.conftest import ROOT

PATHS = ('det_configs/mask_rcnn_vit_tiny.py', 'seg_configs/upernet_vit_tiny.py', 'pretrain/configs/mae_tiny.py')


@pytest.mark.parametrize('path', PATHS)
@pytest.mark.parametrize('device', ['npu', 'mlu', 'mps', 'cuda', 'cuda:1', 'cpu'])
def test_fit_machine__fused_where_it_exists(path, device):
    cfg = Config.fromfile(ROOT / path)
    told = fit_machine(cfg, device, 'linux')
    fused = device in ('cuda', 'cuda:1', 'cpu')
    assert cfg.optim_wrapper.optimizer.fused == fused
    assert bool(told) == (not fused)
    assert cfg.env_cfg.mp_cfg.mp_start_method == 'fork'


@pytest.mark.parametrize('path', PATHS)
def test_fit_machine__macos_spawns(path):
    cfg = Config.fromfile(ROOT / path)
    assert fit_machine(cfg, 'cpu', 'darwin') == ['data workers are spawned: macOS cannot fork them']
    assert cfg.env_cfg.mp_cfg.mp_start_method == 'spawn'


def test_fit_machine__configs_without_these():
    assert fit_machine(Config({}), 'npu', 'darwin') == []
