"""Data workers that are started afresh, as macOS, Windows and Python 3.14 do it."""

from typing import Any

from torch.utils.data._utils import worker as upstream

_torch_worker_loop = upstream._worker_loop


def worker_loop(*args: Any) -> None:
    """Run torch's loop of a data worker.

    A fresh process finds this function by importing `backbones`, and does so before it unpickles the dataset.
    """
    _torch_worker_loop(*args)


def repair_spawned_workers() -> None:
    """Make OpenMMLab importable in spawned data workers (mmdet#3271).

    They unpickle the dataset, and thereby import mmdet, before anything of ours: `No module named 'mmcv._ext'`.
    """
    upstream._worker_loop = worker_loop  # type: ignore[assignment]
