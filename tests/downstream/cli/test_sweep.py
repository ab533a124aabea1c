"""A tiny real sweep: two trainings, their evaluation, a failure, and going on where it stopped."""

import csv
import json
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from downstream.cli.sweep import Run, check_template, look_up, main, parse, read_axis

ROOT = Path(__file__).resolve().parents[3]
TINY = [
    'train_cfg.max_epochs=1',
    'model.encoder.img_size=32',
    'train_dataloader.dataset.crop_size=32',
    'train_dataloader.num_workers=0',
    'train_dataloader.batch_size=4',
    'param_scheduler.0.start_factor=1.0',
    'param_scheduler.0.end=1',
    'param_scheduler.1.begin=0',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=1',
]
# In the place of an evaluation: reads back what was trained, fast as it imports nothing large.
EVALUATION = """
import json, os, pathlib, re, sys
checkpoint, work_dir, seed, result = sys.argv[1:]
assert os.path.getsize(checkpoint) > 1000
config = pathlib.Path(work_dir, 'mae_tiny.py').read_text()
ratio = float(re.search(r'mask_ratio=([0-9.]+)', config)[1])
json.dump({'knn': {seed: {'ratio': ratio, 'gpu': int(os.environ['CUDA_VISIBLE_DEVICES'])}}}, open(result, 'w'))
"""


@pytest.fixture
def images(tmp_path):
    (tmp_path / 'images').mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / 'images' / f'{index}.png')
    return tmp_path / 'images'


def table(out):
    with (out / 'sweep.csv').open() as file:
        return list(csv.reader(file))


@pytest.mark.slow
def test_sweep__measures_goes_on_and_reports_failures(tmp_path, images, monkeypatch, capsys):
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    out = tmp_path / 'out'
    (tmp_path / 'evaluate.py').write_text(EVALUATION)
    command = [str(ROOT / 'pretrain/configs/mae_tiny.py'), '--data-root', str(images), '--out', str(out)]
    command += ['--fixed', *TINY, '--grid']
    assert main([*command, 'model.mask_ratio=0.25,0.5', '--gpus', '0,1']) == 0
    header, *rows = table(out)
    assert header == ['model.mask_ratio', 'seed', 'loss']
    assert [row[:2] for row in rows] == [['0.25', '0'], ['0.5', '0']]
    assert all(0 < float(row[2]) < 10 for row in rows)
    drawn = cv2.imread(str(out / 'sweep.png'))
    assert drawn is not None and (drawn < 100).any()

    marks = {path.name: path.stat().st_mtime_ns for path in (out / 'done').iterdir()}
    assert len(marks) == 2
    places = ['{checkpoint}', '{work_dir}', '{seed}', '{result}']
    template = shlex.join(['python', str(tmp_path / 'evaluate.py'), *places])
    evaluation = ['--then', template, '--metric', 'knn.{seed}.ratio', '--gpus', '3']
    # A ratio that no training accepts, between the two that are done.
    assert main([*command, 'model.mask_ratio=0.25,7,0.5', *evaluation]) == 2
    assert table(out)[1:] == [['0.25', '0', '0.25'], ['7', '0', ''], ['0.5', '0', '0.5']]
    assert 'failed: mask_ratio=7_seed=0: ' in capsys.readouterr().err
    assert all((out / 'done' / name).stat().st_mtime_ns == time for name, time in marks.items())
    results = [json.loads(path.read_text()) for path in out.glob('runs/*/result_*.json')]
    assert sorted(each['knn']['0']['gpu'] for each in results) == [3, 3]

    assert main([*command, 'model.mask_ratio=0.25', '--amp']) == 2
    assert 'holds a sweep of other settings' in capsys.readouterr().err


def test_run__name_tells_all_values():
    run = Run((('model.mask_ratio', '0.3'), ('model.encoder.img_size', '(32, 64)')), 2)
    assert run.name == 'mask_ratio=0.3_encoder.img_size=_32_64__seed=2'


def test_read_axis__commas_in_brackets_stay():
    assert read_axis('a.b=(1,2),[3,4],5') == ('a.b', ['(1,2)', '[3,4]', '5'])


@pytest.mark.parametrize('text', ['a.b', 'a.b=', '=1,2', 'a=1,1'])
def test_read_axis__not_an_axis(text):
    with pytest.raises(ValueError, match='not of the form option=value'):
        read_axis(text)


@pytest.mark.parametrize('template', ['run {checkpoint}', 'run {result} {epoch}', 'run {}'])
def test_check_template__placeholders(template):
    with pytest.raises(ValueError, match=r'it needs \{result\}'):
        check_template(template)


@pytest.mark.parametrize(
    ('key', 'message'),
    [('knn.1.acc', "has no '1' of .*where it has 0"), ('knn.0', 'is no number'), ('knn.0.acc.x', "has no 'x'")],
)
def test_look_up__what_is_there(key, message):
    with pytest.raises(ValueError, match=message):
        look_up({'knn': {'0': {'acc': 1.5}}}, key, Path('r.json'))
    assert look_up({'knn': {'0': {'acc': 1.5}}}, 'knn.0.acc', Path('r.json')) == 1.5


def test_parse__evaluation_needs_a_metric(capsys):
    with pytest.raises(SystemExit):
        parse(['c.py', '--grid', 'a=1', '--out', 'x', '--then', 'run {result}'])
    assert '--then needs --metric' in capsys.readouterr().err
