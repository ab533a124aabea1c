"""The whole path, tiny: from drawn scenes to the report, stopped and run again."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {'mae': 11, 'beit': 12}


def quickstart(work_dir, method, scale='0.02'):
    command = [sys.executable, str(ROOT / 'tools' / 'quickstart.py'), '--work-dir', str(work_dir), '--scale', scale]
    command += ['--method', method]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def reported(work_dir, method, title):
    """Run it all and look at the report."""
    first = quickstart(work_dir, method)
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.count(': done in ') == COMMANDS[method]
    html = (work_dir / 'report.html').read_text()
    rows = re.findall(rf'<td>(random weights|{title}-pretrained|gain)</td>((?:<td>[-+.\d]+</td>){{4}})', html)
    assert [name for name, _ in rows] == ['random weights', f'{title}-pretrained', 'gain']
    # The rate was whole in between, and so the weights moved: a tenth of a percent of it would show nothing.
    for run, rate in (('mask_rcnn', 1e-3), ('upernet', 3e-3)):
        saved = torch.load(next((work_dir / f'{run}_pretrained').glob('iter_*.pth')), weights_only=True)
        assert max(saved['message_hub']['log_scalars']['train/lr']['log_history']) == pytest.approx(rate)
    # curves, reconstruction, five scenes of three detection and of four segmentation pictures
    assert html.count('src="data:image/') == 2 + 5 * 3 + 5 * 4
    assert not re.findall(r'src="(?!data:)', html)
    return html


@pytest.mark.slow
def test_quickstart__beit_reports_both_tasks(tmp_path):
    reported(tmp_path, 'beit', 'BEiT')


@pytest.mark.slow
def test_quickstart__mae_reports_both_tasks_and_continues_where_it_stopped(tmp_path):
    html = reported(tmp_path, 'mae', 'MAE')

    # As if it had been stopped in the last evaluation and before the report.
    (tmp_path / 'done' / 'upernet_pretrained_evaluation.json').unlink()
    (tmp_path / 'report.html').unlink()
    checkpoints = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.pth')}
    second = quickstart(tmp_path, 'mae')
    assert second.returncode == 0, second.stdout + second.stderr
    assert second.stdout.count(': done in ') == 1 and second.stdout.count(': done before') == 4
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*.pth')} == checkpoints
    assert (tmp_path / 'report.html').read_text() == html
