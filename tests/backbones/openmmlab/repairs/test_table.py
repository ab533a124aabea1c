"""Which repairs acted is known; one that no longer fits is left out."""

import logging

import backbones.openmmlab as openmmlab
from backbones.openmmlab.repairs import table as repairs
from backbones.openmmlab.repairs.table import REPAIRS, acts, applied_repairs, apply_repairs


def test_applied__names_those_that_acted():
    names = {repair.__name__.removeprefix('repair_').replace('_', ' ') for repair in REPAIRS}
    applied = set(applied_repairs()) - {'sharded saving', 'sharded resuming', 'sharded start'}
    assert (
        {'saved objects', 'resumed histories', 'unsafe loading', 'rounded rois', 'spawned workers'} <= applied < names
    )
    # mmcv-lite 2.1 needs no leave to be used.
    assert 'version check' not in applied


def test_describe__one_line_for_the_log():
    line = openmmlab.describe()
    assert line.startswith("mmcv operators: torchvision's and torch's; repairs applied: ")
    assert line.endswith(', '.join(applied_repairs()))


def test_apply__counts_what_acted_once(monkeypatch):
    monkeypatch.setattr(repairs, '_applied', [])
    calls = []

    def repair_one_thing():
        calls.append(1)
        return True

    def repair_nothing():
        return False

    for _ in range(2):
        apply_repairs((repair_one_thing, repair_nothing))
    assert applied_repairs() == ('one thing',) and calls == [1]


def test_acts__a_private_name_that_has_gone_is_a_warning(caplog):
    def repair_renamed():
        return logging.no_such_private_name

    with caplog.at_level(logging.WARNING):
        assert not acts(repair_renamed)
    assert "repair_renamed does not fit the installed packages: module 'logging' has no" in caplog.text
