"""Checkpoints of stock mmengine hooks, saved, loaded and resumed with safe loading on."""

import dataclasses
import enum
import inspect
import os
import pickle
from collections import Counter, OrderedDict, defaultdict, deque
from functools import partial
from pathlib import PurePosixPath

import mmengine
import mmengine.runner.checkpoint as upstream
import mmengine.runner.runner
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner.checkpoint import CheckpointLoader
from torch.serialization import get_unsafe_globals_in_checkpoint

from backbones.openmmlab.repairs.mmengine import stock_objects
from backbones.openmmlab.repairs.mmengine.checkpoints import (
    UNSAFE,
    _loads_safely,
    plain,
    repair_resumed_histories,
    repair_saved_objects,
    repair_unsafe_loading,
)
from backbones.openmmlab.views import with_names
from tests.backbones.openmmlab.tiny import Model, build

EMA = [{'type': 'EMAHook', 'ema_type': 'ExponentialMovingAverage', 'update_buffers': True}]


class Arbitrary:
    """Code that a checkpoint should not be able to name."""

    def __repr__(self):
        return 'something arbitrary'


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Place:
    x: float


def test_plain__turns_what_openmmlab_writes_into_builtins():
    value = {
        'array': np.array([[1, 2], [3, 4]]),
        'scalar': np.float64(0.5),
        'flag': np.bool_(True),
        'path': PurePosixPath('a/b'),
        'config': ConfigDict(classes=('a', 'b')),
        np.int64(3): {np.str_('x')},
    }
    result = plain(value)
    assert result == {
        'array': [[1, 2], [3, 4]],
        'scalar': 0.5,
        'flag': True,
        'path': 'a/b',
        'config': {'classes': ('a', 'b')},
        3: {'x'},
    }
    assert type(result['config']) is dict and type(result['scalar']) is float and type(result['flag']) is bool
    assert b'numpy' not in pickle.dumps(result)


USERS_OWN = [
    deque([1.0, 2.0], maxlen=5),
    Place(0.5),
    Colour.RED,
    frozenset({1}),
    defaultdict(list, a=[1]),
    Counter('aab'),
    np.array([Place(1.0)], dtype=object),
]


@pytest.mark.parametrize('value', USERS_OWN, ids=lambda value: type(value).__name__)
def test_plain__leaves_other_objects_as_they_are(value):
    assert plain(value) is value
    assert plain({'a': [value]})['a'][0] is value


def test_saved_objects__users_own_parts_are_theirs(tmp_path):
    """Whatever stands beside mmengine's own parts is saved as torch saves it."""
    own = {'queue': USERS_OWN[0], 'place': Place(0.5), 'array': np.arange(3, dtype=np.int16), 'state_dict': {}}
    mmengine.runner.save_checkpoint({**own, 'meta': {'score': np.float32(0.5)}}, str(tmp_path / 'x.pth'))
    saved = torch.load(tmp_path / 'x.pth', weights_only=False)
    assert saved['queue'] == own['queue'] and saved['queue'].maxlen == 5
    assert saved['place'] == Place(0.5)
    assert saved['array'].dtype == np.int16 and saved['array'].tolist() == [0, 1, 2]
    assert type(saved['meta']['score']) is float


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
    # What the user does elsewhere is theirs.
    assert isinstance(torch.load(tmp_path / 'x.pth', weights_only=False)['payload'], Arbitrary)


def test_loading__of_addresses_never_runs_code(tmp_path, monkeypatch):
    torch.save({'payload': Arbitrary()}, tmp_path / 'x.pth')
    torch.save({'weight': torch.ones(2)}, tmp_path / 'y.pth')
    load = partial(upstream.load_url, model_dir=str(tmp_path), map_location='cpu')
    assert load('http://nowhere.invalid/y.pth')['weight'].tolist() == [1, 1]
    with pytest.raises(pickle.UnpicklingError, match='Arbitrary'):
        load('http://nowhere.invalid/x.pth')
    monkeypatch.setenv(UNSAFE, '1')
    assert isinstance(load('http://nowhere.invalid/x.pth', weights_only=False)['payload'], Arbitrary)


def test_loading__leaves_the_environment_and_the_choice_to_the_user(tmp_path, monkeypatch):
    torch.save({'payload': Arbitrary()}, tmp_path / 'x.pth')
    before, names = dict(os.environ), set(torch.serialization.get_safe_globals())
    with pytest.raises(pickle.UnpicklingError):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'x.pth'))
    assert dict(os.environ) == before
    assert set(torch.serialization.get_safe_globals()) == names
    monkeypatch.setenv(UNSAFE, '1')
    assert isinstance(CheckpointLoader.load_checkpoint(str(tmp_path / 'x.pth'))['payload'], Arbitrary)


def unrepaired(name):
    """A function of mmengine's as it was written, with torch as everybody sees it."""
    return with_names(inspect.unwrap(getattr(upstream, name)), torch=torch)


@pytest.fixture
def stock_file(tmp_path, monkeypatch):
    """A checkpoint as mmengine writes it without us, its log and numpy scalars among it."""
    with monkeypatch.context() as patch:
        patch.setattr(mmengine.runner.runner, 'save_checkpoint', unrepaired('save_checkpoint'))
        runner = build(tmp_path)
        runner.train()
    return tmp_path / 'epoch_1.pth', runner


def newer_loader(filename, map_location):
    """How mmengine 0.11 reads a local file."""
    return torch.load(filename, map_location=map_location, weights_only=False)


def safe_loader(filename, map_location):
    """How an mmengine without the defect would."""
    return torch.load(filename, map_location=map_location, weights_only=True)


def test_loading__stock_checkpoints_with_their_histories(stock_file, tmp_path):
    file, runner = stock_file
    with pytest.raises(pickle.UnpicklingError, match='HistoryBuffer'):
        torch.load(file, weights_only=True)
    content = CheckpointLoader.load_checkpoint(str(file), map_location='cpu')
    loss = content['message_hub']['log_scalars']['train/loss']
    assert type(loss) is HistoryBuffer
    np.testing.assert_array_equal(loss.data[0], runner.message_hub.get_scalar('train/loss').data[0])
    assert loss.mean() == pytest.approx(runner.message_hub.get_scalar('train/loss').mean())
    assert content['message_hub']['runtime_info']['best_score'] == runner.message_hub.get_info('best_score')
    resumed = build(tmp_path / 'again', epochs=2, resume=True, load_from=str(file))
    resumed.train()
    assert resumed.iter == 8 and len(resumed.message_hub.get_scalar('train/loss').data[0]) == 8


def test_unsafe_loading__is_where_the_defect_is():
    assert not _loads_safely(unrepaired('load_from_local'))
    assert not _loads_safely(newer_loader)
    assert _loads_safely(safe_loader)


@pytest.mark.parametrize('wanted', [True, False])
def test_unsafe_loading__a_safe_mmengine_keeps_its_names(wanted, monkeypatch):
    """With the defect the module's view of torch is exchanged, without it nothing is."""
    loader = (
        (lambda filename, map_location: torch.load(filename, map_location, weights_only=True))
        if wanted
        else newer_loader
    )
    load_url = inspect.unwrap(upstream.load_url)
    for name, value in dict(load_from_local=loader, torch=torch, load_url=load_url).items():
        monkeypatch.setattr(upstream, name, value)
    assert repair_unsafe_loading() != wanted
    assert (upstream.torch is torch) == wanted
    assert (upstream.load_url is load_url) == wanted


def test_saved_objects__a_repaired_mmengine_is_left_alone(monkeypatch):
    save, resume = upstream.save_checkpoint, MessageHub.load_state_dict
    monkeypatch.setattr(MessageHub, 'state_dict', lambda self: {'log_scalars': {}})
    assert not repair_saved_objects() and not repair_resumed_histories()
    assert upstream.save_checkpoint is save and MessageHub.load_state_dict is resume


@pytest.mark.parametrize('code', ['O8', 'V8', 'M8'])
def test_stock_objects__arrays_of_numbers_only(code):
    with pytest.raises(ValueError, match=f'array of {code}'):
        stock_objects._Dtype(code).true()


def test_stock_objects__arrays_and_scalars_of_all_kinds(tmp_path):
    arrays = [np.arange(6).reshape(2, 3).astype(kind) for kind in ('f4', '>f8', 'u1', 'i2', 'b1')]
    content = {'arrays': [*arrays, np.asfortranarray(arrays[0])], 'scalar': (np.float32(0.25), np.bool_(True))}
    torch.save(content, tmp_path / 'x.pth')
    loaded = stock_objects.load(tmp_path / 'x.pth')
    for actual, expected in zip(loaded['arrays'], content['arrays'], strict=True):
        np.testing.assert_array_equal(actual, expected)
        assert actual.dtype == expected.dtype
    assert loaded['scalar'] == (0.25, True) and type(loaded['scalar'][1]) is bool
