"""Data workers that start as fresh processes."""

import pytest
from mmdet.datasets.transforms import PackDetInputs
from torch.utils.data import DataLoader
from torch.utils.data._utils import worker

from backbones.openmmlab.repairs_workers import _torch_worker_loop, worker_loop
from tests.backbones.openmmlab.tiny import Data


def spawned_loader():
    dataset = Data()
    # Unpickling it imports mmdet.
    dataset.transform = PackDetInputs()
    return DataLoader(dataset, batch_size=8, num_workers=1, multiprocessing_context='spawn')


@pytest.mark.slow
def test_spawned_worker__imports_mmdet():
    assert worker._worker_loop is worker_loop
    (batch,) = spawned_loader()
    assert batch['x'][:, 0].tolist() == list(range(8))


@pytest.mark.slow
def test_spawned_worker__fails_without_repair(monkeypatch, capfd):
    monkeypatch.setattr(worker, '_worker_loop', _torch_worker_loop)
    with pytest.raises(RuntimeError, match='exited unexpectedly'):
        next(iter(spawned_loader()))
    assert "No module named 'mmcv._ext'" in capfd.readouterr().err
