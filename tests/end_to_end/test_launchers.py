"""The commands of docs/distributed.md, run as they stand there on this machine, with a process for each machine."""

import os
import shlex
import socket
import stat
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import ROOT
from tests.end_to_end.test_processes import CAN_SHARD

CONFIG = 'pretrain/configs/mae_huge.py'
OPTIONS = (
    'model.encoder.img_size=32 train_dataloader.dataset.crop_size=32 train_dataloader.batch_size=2 '
    'train_dataloader.num_workers=0 train_cfg.max_epochs=1 param_scheduler.0.start_factor=1.0 param_scheduler.0.end=1 '
    'param_scheduler.1.begin=0 default_hooks.logger.interval=1 default_hooks.checkpoint.interval=1'
)
# Two tasks, one after the other in the environment as Slurm sets it, and its way to name a machine.
SRUN = """#!/bin/bash
for task in 0 1; do
  SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_NTASKS=2 SLURM_NODELIST='node[0-1]' "$@" & tasks+=($!)
done
for task in "${tasks[@]}"; do wait "$task" || exit 1; done
"""
SCONTROL = '#!/bin/bash\n[ "$*" = "show hostname node[0-1]" ] && printf "localhost\\nelsewhere\\n"\n'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason='two processes would share a GPU'),
]


def block(heading):
    """The commands under a heading of the page."""
    page = (ROOT / 'docs/distributed.md').read_text()
    return page.split(f'\n## {heading}\n')[1].split('```bash\n')[1].split('```')[0]


def free_port():
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        return probe.getsockname()[1]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(8):
        Image.fromarray(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(folder / f'{index}.png')
    return folder


def environment(**more):
    return {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1', **more}


def small(command, images, work_dir):
    """The command on a tiny model, a folder of images and a working directory."""
    assert command.count(CONFIG) == 1
    command = command.replace(CONFIG, 'pretrain/configs/mae_tiny.py').replace('DIR', str(images))
    return f'{command.strip()} --work-dir {work_dir} --cfg-options {OPTIONS}'


def assert_trained(work_dir):
    """Eight images, two in each of two processes: two iterations, by processes that each saw half of them."""
    saved = torch.load(work_dir / 'epoch_1.pth', weights_only=True)
    assert saved['meta']['iter'] == 2
    # The lr follows the number of processes: 1.5e-4 x 2 x 2 / 256 at its peak.
    assert saved['param_schedulers'][0]['base_values'][:2] == [pytest.approx(1.5e-4 * 4 / 256)] * 2


def test_two_machines__torchrun(images, tmp_path):
    command = small(block('Two machines').replace('\\\n', ' '), images, tmp_path / 'run')
    assert '--nnodes 2 --nproc_per_node 8' in command
    command = command.replace('--nproc_per_node 8', '--nproc_per_node 1')
    command = shlex.split(command.replace('node0:29500', f'localhost:{free_port()}'))
    assert (command.pop(0), '--sharded' in command) == ('torchrun', True)
    if not CAN_SHARD:
        command.remove('--sharded')
    nodes = [
        subprocess.Popen([sys.executable, '-m', 'torch.distributed.run', *command], cwd=ROOT, env=environment(),
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]  # fmt: skip
    outputs = [node.communicate(timeout=300)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], '\n'.join(outputs)[-5000:]
    wrapper = 'the model is spread over the processes' if CAN_SHARD else 'each process has the whole model'
    assert wrapper in ''.join(outputs)
    assert_trained(tmp_path / 'run')


def test_slurm__batch_script(images, tmp_path):
    script = block('Slurm')
    settings = dict(
        line[10:].split('=') for line in script.splitlines() if line.startswith('#SBATCH --') and '=' in line
    )
    assert settings['ntasks-per-node'] == settings['gpus-per-node'] == '8'
    programs = tmp_path / 'bin'
    programs.mkdir()
    for name, text in (
        ('srun', SRUN),
        ('scontrol', SCONTROL),
        ('python', f'#!/bin/bash\nexec {sys.executable} "$@"\n'),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(stat.S_IRWXU)
    script = small(script, images, tmp_path / 'run').replace('MASTER_PORT=29500', f'MASTER_PORT={free_port()}')
    path = f'{programs}{os.pathsep}{os.environ["PATH"]}'
    done = subprocess.run(['bash', '-c', script], cwd=ROOT, env=environment(PATH=path), capture_output=True, text=True,
                          timeout=300)  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    assert 'each process has the whole model (StaticDDP)' in done.stdout + done.stderr
    assert_trained(tmp_path / 'run')
