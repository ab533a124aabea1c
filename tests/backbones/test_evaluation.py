"""Evaluation in bfloat16: the loops, the switch, and both command lines' results."""

import json

import pytest
import torch
from mmengine.config import Config

from backbones.launch import evaluate_in_bf16
from tests.backbones.openmmlab.tiny import Data, build


@pytest.mark.parametrize('part', ['val', 'test'])
def test_loop__casts_to_bfloat16(part, tmp_path):
    loop = {'val': 'BF16ValLoop', 'test': 'BF16TestLoop'}[part]
    runner = build(tmp_path, default_hooks={'checkpoint': None}, **{f'{part}_cfg': {'type': loop}})
    score = getattr(runner, part)()['score']
    model = runner.model
    assert model.dtype_inside == torch.bfloat16
    assert not torch.is_autocast_enabled('cpu')

    data = Data()
    inputs = torch.stack([data[index]['x'] for index in range(len(data))])
    with torch.no_grad():
        full = model.norm(model.line(inputs)).sum(1).mean().item()
        with torch.autocast('cpu', dtype=torch.bfloat16):
            cast = model.norm(model.line(inputs)).float().sum(1).mean().item()
    assert score == pytest.approx(cast, abs=1e-5)
    assert score != full and score == pytest.approx(full, rel=2e-2, abs=2e-2)


def test_evaluate_in_bf16__plain_loops_only():
    cfg = Config(dict(val_cfg=dict(type='ValLoop'), test_cfg=dict(), other_cfg=None))
    assert evaluate_in_bf16(cfg, 'val') == ['val: bf16 autocast']
    assert evaluate_in_bf16(cfg, 'test') == ['test: bf16 autocast']
    assert (cfg.val_cfg.type, cfg.test_cfg.type) == ('BF16ValLoop', 'BF16TestLoop')
    own = Config(dict(val_cfg=dict(type='EpochLoop'), test_cfg=None))
    assert evaluate_in_bf16(own, 'val') == evaluate_in_bf16(own, 'test') == []
    assert own.val_cfg.type == 'EpochLoop'


@pytest.mark.slow
@pytest.mark.parametrize('task', ['det', 'seg'])
def test_command_line__amp_is_near_float32(task, tmp_path):
    from tests.tools.test_train import DET, METRICS, SEG, data, small
    from tools.test import main as evaluate
    from tools.train import main as train_main

    config = {'det': DET, 'seg': SEG}[task]
    root, work = data(config, tmp_path / 'data'), tmp_path / 'run'
    options = ['--data-root', root, '--cfg-options', *small(config)]
    train_main([config, '--amp', '--work-dir', str(work), '--seed', '1', *options])
    assert 'val: bf16 autocast' in ''.join(path.read_text() for path in work.glob('*/*.log'))
    figures = {}
    for name, amp in (('float32', []), ('bf16', ['--amp'])):
        folder = tmp_path / name
        evaluate([config, str(work / 'iter_2.pth'), '--work-dir', str(folder), *amp, *options])
        figures[name] = json.loads((folder / 'metrics.json').read_text())
        log = ''.join(path.read_text() for path in folder.glob('*/*.log'))
        assert ('test: bf16 autocast' in log) == bool(amp)
    # An untrained model's ranking is noise: a point of 100 for mIoU, 0.01 for AP.
    tolerance = {DET: 0.01, SEG: 1.0}[config]
    assert figures['bf16'][METRICS[config]] == pytest.approx(figures['float32'][METRICS[config]], abs=tolerance)
