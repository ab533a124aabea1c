"""What an import brings along, and that OpenMMLab users lose nothing by it, whatever comes first."""

import os
import subprocess
import sys

import pytest

import backbones
from tests.backbones.openmmlab.subprocesses import ROOT, python

HEAVY = "('mmengine', 'mmcv', 'mmdet', 'mmseg', 'transformers', 'timm', 'torchvision', 'scipy', 'cv2')"
BUILD = "print(type(MODELS.build(dict(type='PlainViT', variant='tiny', img_size=32))).__name__)"


@pytest.mark.parametrize(
    'statement',
    [
        'from backbones.vit import PlainViT',
        'from backbones import VARIANTS, DecayRule, param_groups',
        'from backbones.checkpoint import load_pretrained',
        'from backbones.pyramid import SimpleFeaturePyramid',
        'import downstream.cli.main',
    ],
)
def test_import__brings_nothing_heavy(statement):
    result = python(f'import sys\n{statement}\nprint([name for name in {HEAVY} if name in sys.modules])')
    assert result.stdout.strip() == '[]', result.stdout + result.stderr


@pytest.mark.parametrize(
    'statements',
    [
        'import backbones\nfrom mmengine.registry import MODELS',
        'from mmengine.registry import MODELS\nimport backbones',
        'from backbones.vit import PlainViT\nfrom mmengine.registry import MODELS',
        # of modules that import mmengine themselves: half made while it comes up
        'import backbones.engine.ddp\nfrom mmengine.registry import MODELS',
        'import backbones.openmmlab.repairs.mmengine.precision\nfrom mmengine.registry import MODELS',
        'import backbones.data.label_maps.dataset\nfrom mmengine.registry import MODELS',
        'from backbones import PlainViT\nfrom mmengine.registry import MODELS',
        'from backbones import LayerWiseDecay\nfrom mmengine.registry import MODELS',
        "from mmengine.utils import import_modules_from_strings\nimport_modules_from_strings(['backbones'])\n"
        'from mmengine.registry import MODELS',
    ],
)
def test_registration__whatever_comes_first(statements):
    # What mmdet and mmseg ask for first; that they import as a whole is held by test_stand_in and below.
    result = python(f'{statements}\n{BUILD}\nimport mmcv.ops\nprint(mmcv.ops.nms.__name__)')
    assert result.stdout.split() == ['PlainViT', 'nms'], result.stderr


def test_registration__once(tmp_path):
    result = python(
        'import backbones, mmengine\nfrom backbones.openmmlab.repairs.table import applied_repairs\n'
        'before = applied_repairs()\nimport backbones.registration, importlib\nbackbones.prepare()\n'
        'print(before == applied_repairs(), len(before) > 3)'
    )
    assert result.stdout.split() == ['True', 'True'], result.stderr


def test_names__all_lead_somewhere():
    assert len(backbones.__all__) > 25
    for name in backbones.__all__:
        assert getattr(backbones, name) is not None
    assert set(backbones.__all__) <= set(dir(backbones))
    with pytest.raises(AttributeError, match='NoSuchName'):
        backbones.NoSuchName  # noqa: B018


def test_spawned_process__finds_openmmlab_ready(tmp_path):
    (tmp_path / 'run.py').write_text(
        'import multiprocessing\nimport backbones\n\n\n'
        'def work():\n    import mmdet.models, mmseg.models\n    print("ready")\n\n\n'
        'if __name__ == "__main__":\n'
        '    process = multiprocessing.get_context("spawn").Process(target=work)\n'
        '    process.start()\n    process.join()\n'
    )
    command = [sys.executable, 'run.py']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.stdout.split() == ['ready'], ran.stderr
