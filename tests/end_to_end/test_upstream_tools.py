"""Upstream's own tools/train.py on our configs: `custom_imports` is all they need."""

import math
import os
import subprocess
import sys
from pathlib import Path

import mmdet
import mmseg
import pytest
from mmengine.config import Config, DictAction

from backbones.data.pointing.root import apply_data_root
from tests.conftest import ROOT
from tests.downstream.cli.test_train import DET, METRICS, SEG, data, scalars, small

PACKAGES = {DET: mmdet, SEG: mmseg}


def resolved_config(config, folder):
    """The config for the drawn data, with workers that start as fresh processes, written as a file."""
    cfg = Config.fromfile(config)
    apply_data_root(cfg, data(config, folder / 'data'))
    options = [*small(config), 'train_dataloader.num_workers=1', 'env_cfg.mp_cfg.mp_start_method=spawn']
    pairs = (option.split('=', 1) for option in options)
    cfg.merge_from_dict({name: DictAction._parse_iterable(value) for name, value in pairs})
    cfg.dump(folder / 'config.py')
    return folder / 'config.py'


@pytest.mark.slow
@pytest.mark.parametrize('config', [DET, SEG], ids=['mmdet', 'mmseg'])
def test_upstream_train__through_custom_imports(config, tmp_path):
    tool = Path(PACKAGES[config].__file__).parent / '.mim/tools/train.py'
    command = [sys.executable, str(tool), str(resolved_config(config, tmp_path)), '--work-dir', str(tmp_path / 'run')]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    logged = scalars(tmp_path / 'run')
    losses = [line['loss'] for line in logged if 'loss' in line]
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    assert len([line for line in logged if METRICS[config] in line]) == 1
