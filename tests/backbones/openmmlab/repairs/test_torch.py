"""Data workers that start as fresh processes."""

import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.datasets.transforms import PackDetInputs
from mmengine.dataset import Compose, ConcatDataset
from mmseg.datasets.transforms import PackSegInputs
from torch.utils.data import DataLoader, Subset, TensorDataset, dataloader
from torch.utils.data._utils import worker

from backbones.openmmlab.repairs.torch import _torch_worker_loop, needs_openmmlab, worker_loop
from tests.backbones.openmmlab.tiny import Data


def spawned_loader(transform=None):
    dataset = Data()
    dataset.transform = transform
    return DataLoader(dataset, batch_size=8, num_workers=1, multiprocessing_context='spawn')


@pytest.mark.slow
def test_spawned_worker__imports_mmdet():
    # Unpickling the transform imports mmdet.
    (batch,) = spawned_loader(PackDetInputs())
    assert batch['x'][:, 0].tolist() == list(range(8))
    assert worker._worker_loop is _torch_worker_loop


@pytest.mark.slow
def test_spawned_worker__fails_without_repair(monkeypatch, capfd):
    kind = dataloader._MultiProcessingDataLoaderIter
    monkeypatch.setattr(kind, '__init__', kind.__init__.__wrapped__)
    with pytest.raises(RuntimeError, match='exited unexpectedly'):
        next(iter(spawned_loader(PackDetInputs())))
    assert "No module named 'mmcv._ext'" in capfd.readouterr().err


@pytest.mark.slow
def test_spawned_worker__of_other_data_is_torchs_own(tmp_path, monkeypatch):
    """Its data set lies in a file of its own, which imports torch alone."""
    source = 'import sys\nimport torch\nclass Loaded(torch.utils.data.Dataset):\n'
    source += '    def __len__(self):\n        return 1\n    def __getitem__(self, index):\n'
    source += "        return [name in sys.modules for name in ('backbones', 'mmengine', 'mmdet')]\n"
    (tmp_path / 'own_data.py').write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    from own_data import Loaded

    (batch,) = DataLoader(Loaded(), num_workers=1, multiprocessing_context='spawn')
    assert [flag.item() for flag in batch] == [False, False, False]


class Nested(torch.utils.data.Dataset):
    def __init__(self, dataset):
        self.dataset = dataset


def detection():
    return CocoDataset(lazy_init=True)


class Subclass(CocoDataset):
    """A user's."""


OPENMMLAB = {
    'data set': detection,
    "a user's subclass": lambda: Subclass(lazy_init=True),
    'wrapped': lambda: Nested(Subset(detection(), [0])),
    'concatenated': lambda: ConcatDataset([detection()], lazy_init=True),
    'pipeline': lambda: Compose([PackSegInputs()]),
    'function': lambda: PackDetInputs.transform,
}
OTHERS = {
    'tensors': lambda: TensorDataset(torch.zeros(2)),
    'wrapped': lambda: Nested([1, 'a']),
    'function': lambda: len,
}


@pytest.mark.parametrize('case', sorted(OPENMMLAB))
def test_needs__of_openmmlab(case):
    assert needs_openmmlab(OPENMMLAB[case]())


@pytest.mark.parametrize('case', sorted(OTHERS))
def test_needs__others(case):
    assert not needs_openmmlab(OTHERS[case]())


def test_loop__is_chosen_for_each_loader(monkeypatch):
    """What the process is started with decides what a fresh one imports."""
    started = []

    class Process:
        def __init__(self, target, args):
            started.append(target)

        def start(self):
            raise ZeroDivisionError

    context = torch.multiprocessing.get_context('spawn')
    monkeypatch.setattr(context, 'Process', Process, raising=False)
    for dataset in (Data(), detection()):
        loader = DataLoader(dataset, num_workers=1, multiprocessing_context=context)
        with pytest.raises(ZeroDivisionError):
            iter(loader)
    assert started == [_torch_worker_loop, worker_loop]
    assert worker._worker_loop is _torch_worker_loop
