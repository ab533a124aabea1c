"""Package lookup without pkg_resources and pkgutil.find_loader."""

import importlib.util
import json
import pkgutil
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import mmcv
import mmcv.utils.ext_loader
import mmengine
import mmengine.utils
import pytest
from mmengine.hub import get_config
from mmengine.utils.dl_utils.misc import mmcv_full_available

from backbones.openmmlab.repairs.mmengine import packages


@pytest.fixture
def fresh_upstream():
    """A second, unrepaired copy of mmengine's module."""
    spec = importlib.util.spec_from_file_location('mmengine_fresh', packages.upstream.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_package_lookup__is_needed_only_where_upstream_fails(fresh_upstream, monkeypatch):
    """Old mmengine without pkg_resources fails and is repaired; with a fix of its own it is left alone."""
    repaired = packages.upstream.is_installed is packages.is_installed
    has_pkg_resources = importlib.util.find_spec('pkg_resources') is not None
    monkeypatch.setitem(sys.modules, 'pkg_resources', None)
    if repaired:
        with pytest.raises(ModuleNotFoundError, match='pkg_resources'):
            fresh_upstream.is_installed('mmdet')
    elif not has_pkg_resources:
        assert fresh_upstream.is_installed('mmdet')
    assert mmengine.utils.is_installed is packages.upstream.is_installed


def test_package_lookup__leaves_a_fixed_upstream_alone(monkeypatch):
    def is_installed(package):
        return importlib.util.find_spec(package) is not None

    monkeypatch.setattr(packages.upstream, 'is_installed', is_installed)
    packages.repair_package_lookup()
    assert packages.upstream.is_installed is is_installed


def test_mmengine_utils__find_packages():
    assert mmengine.utils.is_installed('mmdet')
    assert not mmengine.utils.is_installed('no_such_thing')
    assert Path(mmengine.utils.get_installed_path('mmdet')).name == 'mmdet'


def test_base_of_another_package__is_found(tmp_path):
    (tmp_path / 'c.py').write_text("_base_ = 'mmdet::_base_/datasets/coco_detection.py'\nextra = 1\n")
    config = mmengine.Config.fromfile(tmp_path / 'c.py')
    assert config.dataset_type == 'CocoDataset' and config.extra == 1


def test_hub__finds_configs():
    assert get_config('mmdet::_base_/schedules/schedule_1x.py').train_cfg.max_epochs == 12


def test_is_installed__distribution_module_and_neither():
    assert packages.is_installed('pytest-timeout')
    assert packages.is_installed('mmcv')
    assert not packages.is_installed('no_such_package')


def test_get_installed_path__by_either_name():
    assert packages.get_installed_path('mmcv') == str(Path(mmcv.__file__).parent)
    assert Path(packages.get_installed_path('opencv-python')).name == 'cv2'
    with pytest.raises(PackageNotFoundError):
        packages.get_installed_path('no_such_package')


def test_get_installed_path__refuses_namespaces(tmp_path, monkeypatch):
    (tmp_path / 'spacious').mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match='namespace'):
        packages.get_installed_path('spacious')


def test_package2module__reads_the_metadata():
    assert packages.package2module('mmsegmentation') == 'mmseg'


def test_find_loader__is_brought_back(monkeypatch):
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
    for question in (mmcv_full_available, mmcv.utils.ext_loader.check_ops_exist):
        with pytest.raises(AttributeError, match='find_loader'):
            question()
    monkeypatch.setattr(pkgutil, 'find_loader', None, raising=False)
    del pkgutil.find_loader
    packages.repair_find_loader()
    assert pkgutil.find_loader is packages.find_loader
    assert mmcv_full_available() == mmcv.utils.ext_loader.check_ops_exist()


def test_find_loader__answers_like_pkgutil():
    assert packages.find_loader('json').path == json.__file__
    assert packages.find_loader('no_such_package') is None


def test_find_loader__leaves_an_existing_one(monkeypatch):
    existing = object()
    monkeypatch.setattr(pkgutil, 'find_loader', existing, raising=False)
    packages.repair_find_loader()
    assert pkgutil.find_loader is existing
