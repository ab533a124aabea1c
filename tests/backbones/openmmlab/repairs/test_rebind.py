"""Functions exchanged everywhere, classes repaired once their module has run."""

import sys
from types import ModuleType

import pytest

from backbones import import_hooks
from backbones.openmmlab.repairs.rebind import rebind, when_imported


def module(name, monkeypatch, **content):
    made = ModuleType(name)
    vars(made).update(content)
    monkeypatch.setitem(sys.modules, name, made)
    return made


@pytest.mark.parametrize('name', ['mmengine.made_up', 'mmpretrain.made_up', 'mmdet3d', 'a_users_own'])
def test_rebind__reaches_every_package(name, monkeypatch):
    def original(): ...

    def other(): ...

    def replacement(): ...

    holder = module(name, monkeypatch, original=original)
    unrelated = module('unrelated', monkeypatch, original=other)
    monkeypatch.setitem(sys.modules, 'no_module', object())
    rebind(original, replacement)
    assert holder.original is replacement and unrelated.original is other


SOURCE = 'VALUE = 1\nclass Part:\n    pass\n'


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / 'made_up_package.py').write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'made_up_package', raising=False)
    yield 'made_up_package.Part'
    import_hooks._finder.told.pop('made_up_package', None)


def test_when_imported__acts_after_the_module_has_run(package):
    seen = []
    assert when_imported(package, lambda kind: bool(seen.append(kind)) or True)
    assert seen == []
    import made_up_package

    assert seen == [made_up_package.Part]
    assert type(made_up_package.__spec__.loader).__name__ == 'SourceFileLoader'
    assert made_up_package.__loader__ is made_up_package.__spec__.loader


def test_when_imported__acts_at_once_on_what_is_there(package):
    import made_up_package

    seen = []
    assert not when_imported(package, seen.append)
    assert seen == [made_up_package.Part]


def test_finder__leaves_other_modules_alone(package):
    when_imported(package, lambda kind: True)
    assert import_hooks._finder.find_spec('json', None) is None
    assert sys.meta_path.count(import_hooks._finder) == 1
