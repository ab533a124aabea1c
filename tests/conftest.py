"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope

import backbones  # noqa: F401  (makes OpenMMLab importable before any test module imports it)

ROOT = Path(__file__).resolve().parent.parent

# The processes of pytest-xdist share the cores, and so do the commands that tests start.
if 'PYTEST_XDIST_WORKER_COUNT' in os.environ:
    THREADS = max(1, (os.cpu_count() or 1) // int(os.environ['PYTEST_XDIST_WORKER_COUNT']))
    os.environ.setdefault('OMP_NUM_THREADS', str(THREADS))
    torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def mmengine_as_it_was():
    """No test sees the scope, the log file or the figures that another test's runner left current in mmengine."""
    kept = {kind: dict(kind._instance_dict) for kind in (DefaultScope, MMLogger, MessageHub)}
    yield
    for kind, instances in kept.items():
        kind._instance_dict.clear()
        kind._instance_dict.update(instances)


@pytest.fixture(scope='session')
def real_data() -> Path:
    """Folder of real images with labels; tests that need it skip where it is absent."""
    path = Path(os.environ.get('DENSE_MAE_DATA', ROOT.parent / 'shared' / 'data'))
    if not path.is_dir():
        pytest.skip(f'no real images at {path}: set DENSE_MAE_DATA to run this test')
    return path
