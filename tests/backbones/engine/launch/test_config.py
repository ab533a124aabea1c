"""Config files: upstream's with variables of their own, and files that are none."""

import random
from pathlib import Path

import pytest
from mmengine.utils import get_installed_path

from backbones.console.errors import UsageError
from backbones.engine.launch.config import open_config, read_config, require_keys
from tests.conftest import ROOT

MAE = ROOT / 'pretrain/configs/mae_tiny.py'


def upstream(count):
    """Some of the configs that mmdet and mmseg install, the same in each run."""
    found = []
    for package in ('mmdet', 'mmseg'):
        configs = Path(get_installed_path(package)) / '.mim/configs'
        whole = [path for path in configs.rglob('*.py') if '_base_' not in path.parts]
        # These import mmpretrain, or lack a file that the wheel left out.
        able = [path for path in sorted(whole) if not {'rtmdet', 'sort', 'bytetrack'} & set(path.parts)]
        able = [path for path in able if 'mmpretrain' not in path.read_text() and 'convnext' not in str(path)]
        found += random.Random(0).sample(able, count)
    return found


def test_open_config__upstream_configs_are_read_and_their_variables_told():
    told = {}
    for path in upstream(12):
        cfg, lines = open_config(path)
        assert cfg.work_dir == f'work_dirs/{path.stem}'
        told[path.name] = lines
    assert all(len(lines) == 1 and 'taken for variables of the config' in lines[0] for lines in told.values())
    assert sum('data_root' in lines[0] for lines in told.values()) > 20


def test_open_config__a_base_of_an_installed_package(tmp_path):
    (tmp_path / 'mine.py').write_text("_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'\nmax_epochs = 3\n")
    cfg, told = open_config(tmp_path / 'mine.py', {'train_cfg.max_epochs': 5})
    assert (cfg.model.type, cfg.train_cfg.max_epochs) == ('FasterRCNN', 5)
    assert 'max_epochs' in told[0]


@pytest.mark.parametrize(
    ('line', 'meant'),
    [
        ('train_dataloder = dict()', 'train_dataloader'),
        ('modle = dict()', 'model'),
        ('custom_hook = []', 'custom_hooks'),
        ('optim_wraper = dict()', 'optim_wrapper'),
        ('param_schedulers = []', 'param_scheduler'),
    ],
)
def test_open_config__slips_in_a_file_are_refused(line, meant, tmp_path):
    (tmp_path / 'mine.py').write_text(f'{line}\n')
    with pytest.raises(UsageError, match=rf'nothing reads {line.split()[0]}; did you mean {meant}\?'):
        read_config(tmp_path / 'mine.py')


def test_open_config__variables_built_on_a_key_are_none(tmp_path):
    (tmp_path / 'mine.py').write_text('val_evaluator = dict()\nval_evaluator_abs = 1\nmodel = dict()\nmodels = 2\n')
    assert read_config(tmp_path / 'mine.py').models == 2


def test_open_config__an_option_has_to_change_something(tmp_path):
    (tmp_path / 'mine.py').write_text('max_epochs = 3\ntrain_cfg = dict(max_epochs=max_epochs)\n')
    with pytest.raises(UsageError, match='nothing reads max_epochs once the file is read: it is a variable'):
        read_config(tmp_path / 'mine.py', {'max_epochs': 5})
    with pytest.raises(UsageError, match=r'nothing reads mdel; did you mean model\?'):
        read_config(MAE, {'mdel.mask_ratio': 0.5})
    with pytest.raises(UsageError, match=r'set model\.data_preprocessor'):
        read_config(MAE, {'data_preprocessor.x': 1})


BROKEN = {
    'syntax.py': (b'a = (\n', 'SyntaxError'),
    'bytes.py': (b'a = "\xff"\n', 'UnicodeDecodeError'),
    'raises.py': (b'raise RuntimeError("x")\n', 'RuntimeError: x'),
    'base.py': (b"_base_ = 'lost.py'\n", r'lost.py: No such file'),
    'itself.py': (b"_base_ = './itself.py'\n", r'itself.py: it is its own _base_'),
    'unnamed.py': (b'a = b\n', r"unnamed.py: NameError: name 'b' is not defined"),
    'imports.py': (b"custom_imports = dict(imports=['no_such_module'])\n", 'ImportError: .*no_such_module'),
    'broken.json': (b'{a', 'JSONDecodeError'),
    'words.txt': (b'a', 'its name ends in none of .py'),
}


@pytest.mark.parametrize('name', BROKEN)
def test_open_config__broken_files(name, tmp_path):
    content, message = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message) as error:
        read_config(tmp_path / name)
    assert name in str(error.value)
    assert '\n' not in str(error.value)


def test_open_config__directories_and_parts_of_configs(tmp_path):
    with pytest.raises(UsageError, match='it is a directory'):
        read_config(tmp_path)
    (tmp_path / 'empty.py').write_text('')
    cfg = read_config(tmp_path / 'empty.py')
    with pytest.raises(UsageError, match='has no model, no train_cfg'):
        require_keys(cfg, ('model', 'train_cfg'), 'empty.py')


def test_open_config__a_place_for_the_results(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UsageError, match=r'work_dir .*file/deeper: .*file is a file, and no directory'):
        read_config(MAE, work_dir=str(tmp_path / 'file/deeper'))
    with pytest.raises(UsageError, match='is a file, and no directory'):
        read_config(MAE, {'work_dir': str(tmp_path / 'file')})
    assert read_config(MAE, work_dir=str(tmp_path / 'new/deeper')).work_dir == str(tmp_path / 'new/deeper')


PYTHON_STYLE = """
from mmdet.datasets import CocoDataset
from mmengine.config import read_base
from mmengine.optim import OptimWrapper
from torch.optim import AdamW

with read_base():
    from .base import *

train_dataloader = dict(dataset=dict(type=CocoDataset))
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=AdamW, lr=1.0))
"""


def test_open_config__classes_of_python_configs_become_names(tmp_path):
    (tmp_path / 'base.py').write_text('train_cfg = dict(max_iters=3)\n')
    (tmp_path / 'mine.py').write_text(PYTHON_STYLE)
    cfg = read_config(tmp_path / 'mine.py', {'optim_wrapper.optimizer.lr': 0.5})
    assert cfg.train_dataloader.dataset.type == 'mmdet.CocoDataset'
    assert cfg.optim_wrapper == dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.5))
    assert cfg.train_cfg.max_iters == 3


def test_require_keys__parts_are_dicts(tmp_path):
    (tmp_path / 'a.py').write_text('model = 3\n')
    cfg, _ = open_config(tmp_path / 'a.py')
    with pytest.raises(UsageError, match=r'a\.py: model=3: it has to be a dict'):
        require_keys(cfg, ('model',), tmp_path / 'a.py')
