"""Checkpoints of stock mmengine hooks, saved, loaded and resumed with safe loading on."""

import inspect
import os
import pickle
from collections import OrderedDict
from pathlib import PurePosixPath

import mmengine
import mmengine.runner.runner
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner.checkpoint import CheckpointLoader
from torch.serialization import get_unsafe_globals_in_checkpoint

from backbones.openmmlab.repairs_checkpoints import SAFE, UNSAFE, plain, safe_loading
from tests.backbones.openmmlab.tiny import Model, build

EMA = [{'type': 'EMAHook', 'ema_type': 'ExponentialMovingAverage', 'update_buffers': True}]


class Arbitrary:
    """Code that a checkpoint should not be able to name."""

    def __repr__(self):
        return 'something arbitrary'


def test_plain__keeps_values_and_drops_types():
    value = {
        'array': np.array([[1, 2], [3, 4]]),
        'scalar': np.float64(0.5),
        'flag': np.bool_(True),
        'path': PurePosixPath('a/b'),
        'config': ConfigDict(classes=('a', 'b')),
        np.int64(3): {np.str_('x')},
        'object': Arbitrary(),
    }
    result = plain(value)
    assert result == {
        'array': [[1, 2], [3, 4]],
        'scalar': 0.5,
        'flag': True,
        'path': 'a/b',
        'config': {'classes': ('a', 'b')},
        3: {'x'},
        'object': 'something arbitrary',
    }
    assert type(result['config']) is dict and type(result['scalar']) is float and type(result['flag']) is bool
    assert b'numpy' not in pickle.dumps(result)


def test_plain__keeps_order_tensors_and_sizes():
    tensor = torch.arange(3)
    result = plain(OrderedDict(b=tensor, a=tensor.shape, dtype=tensor.dtype, none=None))
    assert type(result) is OrderedDict and list(result) == ['b', 'a', 'dtype', 'none']
    assert result['b'] is tensor and type(result['a']) is torch.Size and result['dtype'] is torch.int64


def test_plain__spells_out_a_history():
    history = HistoryBuffer([1.5, 2.5], [1, 3], max_length=10)
    assert plain(history) == {'log_history': [1.5, 2.5], 'count_history': [1, 3], 'max_length': 10}


def test_saved_objects__without_repair_cannot_be_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(mmengine.runner.runner, 'save_checkpoint', inspect.unwrap(mmengine.runner.save_checkpoint))
    build(tmp_path).train()
    unsafe = get_unsafe_globals_in_checkpoint(tmp_path / 'epoch_1.pth')
    assert 'mmengine.logging.history_buffer.HistoryBuffer' in unsafe
    with pytest.raises(pickle.UnpicklingError, match='HistoryBuffer'):
        torch.load(tmp_path / 'epoch_1.pth', weights_only=True)


def test_resumed_histories__without_repair_are_lost(tmp_path, monkeypatch):
    runner = build(tmp_path)
    runner.train()
    saved = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['message_hub']
    repaired, unrepaired = MessageHub('repaired'), MessageHub('unrepaired')
    repaired.load_state_dict(saved)
    MessageHub.load_state_dict.__wrapped__(unrepaired, saved)
    history = runner.message_hub.get_scalar('train/loss')
    np.testing.assert_array_equal(repaired.get_scalar('train/loss').data[0], history.data[0])
    assert 'train/loss' not in unrepaired.log_scalars


def test_resume__continues_where_it_stopped(tmp_path):
    """Two epochs at once and one epoch, a stop and another one end in the same weights and logs."""
    schedule = {'type': 'PolyLR', 'eta_min': 0.01, 'end': 8, 'by_epoch': False}
    torch.manual_seed(1)
    at_once = build(tmp_path / 'at_once', epochs=2, custom_hooks=EMA, param_scheduler=schedule)
    at_once.train()
    torch.manual_seed(1)
    build(tmp_path / 'run', epochs=1, custom_hooks=EMA, param_scheduler=schedule).train()
    resumed = build(tmp_path / 'run', epochs=2, custom_hooks=EMA, param_scheduler=schedule, resume=True)
    resumed.train()

    assert (resumed.epoch, resumed.iter) == (2, 8)
    for name, value in at_once.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    for name in ('train/loss', 'train/lr'):
        expected, count = at_once.message_hub.get_scalar(name).data
        actual, actual_count = resumed.message_hub.get_scalar(name).data
        np.testing.assert_array_equal(actual, expected)
        np.testing.assert_array_equal(actual_count, count)
    files = sorted((tmp_path / 'run').glob('*.pth'))
    assert {f.name.rpartition('_')[0] for f in files} >= {'epoch', 'best_score_epoch'}
    for file in files:
        assert get_unsafe_globals_in_checkpoint(file) == [], file
        torch.load(file, weights_only=True)


def test_load_from__takes_the_weights(tmp_path):
    first = build(tmp_path)
    first.train()
    second = build(tmp_path / 'second', load_from=str(tmp_path / 'epoch_1.pth'), model=Model())
    second.load_or_resume()
    for name, value in first.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name
    assert second.epoch == 0


def test_saved_objects__include_meta_and_hook_additions(tmp_path):
    runner = build(tmp_path)
    runner.train_loop  # noqa: B018  (built on first use)
    runner.train_dataloader.dataset.metainfo = {'palette': np.array([[1, 2, 3]]), 'classes': ('a',)}
    runner.save_checkpoint(str(tmp_path), 'x.pth', save_optimizer=False, save_param_scheduler=False)
    meta = torch.load(tmp_path / 'x.pth', weights_only=True)['meta']
    assert meta['dataset_meta'] == {'palette': [[1, 2, 3]], 'classes': ('a',)}
    assert meta['mmengine_version'].startswith(mmengine.__version__)


def test_loading__never_runs_code(tmp_path):
    """Also where mmengine passes weights_only=False."""
    torch.save({'state_dict': {}, 'payload': Arbitrary()}, tmp_path / 'x.pth')
    with pytest.raises(pickle.UnpicklingError, match='Arbitrary'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'x.pth'), map_location='cpu')
    # The setting ends with the call: what the user does elsewhere is theirs.
    assert isinstance(torch.load(tmp_path / 'x.pth', weights_only=False)['payload'], Arbitrary)


def test_loading__without_repair_runs_code_where_told_so(tmp_path, monkeypatch):
    torch.save({'payload': Arbitrary()}, tmp_path / 'x.pth')
    monkeypatch.setitem(CheckpointLoader._schemes, '', lambda f, map_location: torch.load(f, weights_only=False))
    load = CheckpointLoader.load_checkpoint
    assert isinstance(load.__func__.__wrapped__(CheckpointLoader, str(tmp_path / 'x.pth'))['payload'], Arbitrary)
    with pytest.raises(pickle.UnpicklingError, match='Arbitrary'):
        load(str(tmp_path / 'x.pth'))


@pytest.mark.parametrize('before', [None, '0'])
def test_loading__restores_the_environment(before, monkeypatch):
    monkeypatch.delenv(SAFE, raising=False)
    if before:
        monkeypatch.setenv(SAFE, before)
    with pytest.raises(ZeroDivisionError), safe_loading():
        assert os.environ[SAFE] == '1'
        raise ZeroDivisionError
    assert os.environ.get(SAFE) == before


def test_loading__leaves_the_choice_to_the_user(monkeypatch):
    monkeypatch.delenv(SAFE, raising=False)
    monkeypatch.setenv(UNSAFE, '1')
    with safe_loading():
        assert SAFE not in os.environ
