"""Modules of CPU processes, on machines with GPUs: they skip there, and run here with the GPUs hidden."""

import os
import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT

# What says that a module has tests which skip where there is a GPU.
SIGNS = ('skipif(torch.cuda.is_available()', 'or torch.cuda.is_available()', 'import in_two')
MODULES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / 'tests').rglob('test_*.py')
    if path.name != 'test_without_gpu.py' and any(sign in path.read_text() for sign in SIGNS)
)


def run(module, *arguments):
    environment = {**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', module, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_modules__those_that_skip_on_a_gpu():
    names = {os.path.basename(module) for module in MODULES}
    assert names >= {
        *('test_processes.py', 'test_launchers.py', 'test_ddp.py', 'test_fsdp.py', 'test_two_processes.py'),
        *('test_distributed.py', 'test_precision.py', 'test_randomness.py', 'test_run_hooks.py'),
    }


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason='the modules run by themselves')
@pytest.mark.parametrize('module', MODULES)
def test_module__passes_with_gpus_hidden(module):
    done = run(module)
    assert done.returncode == 0, done.stdout[-5000:]
    assert ' passed' in done.stdout


@pytest.mark.slow
def test_module__hidden_gpus_leave_a_machine_of_cpus():
    """The way the above runs them: nothing in such a module is skipped for a GPU."""
    done = run('tests/backbones/engine/test_ddp.py', '-m', 'not slow')
    assert done.returncode == 0, done.stdout[-5000:]
    assert 'skipped' not in done.stdout
