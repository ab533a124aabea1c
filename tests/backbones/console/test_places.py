"""Configs by name, from wherever a command is run."""

import pytest

from backbones.console.errors import UsageError
from backbones.console.places import config_files, find_config
from tests.conftest import ROOT


def test_config_files__every_room_no_name_twice():
    found = config_files()
    assert found['mask_rcnn_vit_tiny'] == ROOT / 'det_configs/mask_rcnn_vit_tiny.py'
    assert found['upernet_vit_tiny'] == ROOT / 'seg_configs/upernet_vit_tiny.py'
    assert found['mae_tiny'] == ROOT / 'pretrain/configs/mae_tiny.py'
    files = [path for room in ('det_configs', 'seg_configs', 'pretrain/configs') for path in (ROOT / room).glob('*.py')]
    assert len(found) == len([path for path in files if not path.name.startswith('_')])


@pytest.mark.parametrize(
    'name', ['mae_tiny', 'pretrain/configs/mae_tiny.py', str(ROOT / 'pretrain/configs/mae_tiny.py')]
)
def test_find_config__from_another_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name).resolve() == (ROOT / 'pretrain/configs/mae_tiny.py').resolve()


def test_find_config__a_file_at_hand_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mae_tiny').write_text('')
    assert find_config('mae_tiny').read_text() == ''


def test_find_config__a_directory_of_that_name_hides_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mae_tiny').mkdir()
    (tmp_path / 'other').mkdir()
    assert find_config('mae_tiny').suffix == '.py'
    assert find_config('other').is_dir()


def test_find_config__says_what_is_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r'config mae_tinny: there is no such file; did you mean mae_tiny\?'):
        find_config('mae_tinny')
    with pytest.raises(UsageError, match=r'config zzz\.py: there is no such file; `dense-mae configs` lists'):
        find_config('zzz.py')
