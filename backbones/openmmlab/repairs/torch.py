"""Make OpenMMLab work in spawned data workers, as used on macOS, Windows and Python 3.14."""

import functools
from typing import Any

from torch.utils.data import DataLoader, dataloader
from torch.utils.data._utils import worker

# Packages that need compiled operators to be imported.
PACKAGES = ('mmdet', 'mmseg', 'mmdet3d', 'mmpose', 'mmrotate', 'mmaction', 'mmocr', 'mmyolo', 'mmtrack')
# Attributes in which data sets, pipelines and wrappers keep other data sets and transforms.
NESTED = ('dataset', 'datasets', '_dataset', 'pipeline', 'transform', 'transforms')

_torch_worker_loop = worker._worker_loop


def worker_loop(*args: Any) -> None:
    """Run torch's loop of a data worker.

    To find this function, a spawned process imports `backbones` before it unpickles the dataset.
    """
    _torch_worker_loop(*args)


def _of_openmmlab(value: Any) -> bool:
    names = [kind.__module__ for kind in type(value).__mro__] + [getattr(value, '__module__', None) or '']
    return any(name.partition('.')[0] in PACKAGES for name in names)


def needs_openmmlab(part: Any, depth: int = 4) -> bool:
    """Whether unpickling a data set, or its attributes in `NESTED`, imports one of `PACKAGES`."""
    if _of_openmmlab(part):
        return True
    if depth == 0:
        return False
    own = getattr(part, '__dict__', {})
    inside = part if isinstance(part, list | tuple) else [own[name] for name in NESTED if name in own]
    return any(needs_openmmlab(each, depth - 1) for each in inside)


def repair_spawned_workers() -> bool:
    """Make OpenMMLab importable in spawned data workers (mmdet#3271).

    They unpickle the dataset, which imports mmdet before any of our modules: `No module named 'mmcv._ext'`. Workers of
    other data sets start as torch starts them.
    """
    original = dataloader._MultiProcessingDataLoaderIter.__init__

    @functools.wraps(original)
    def __init__(self: Any, loader: DataLoader) -> None:  # noqa: N807
        ours = needs_openmmlab([loader.dataset, loader.collate_fn])
        worker._worker_loop = worker_loop if ours else _torch_worker_loop  # type: ignore[assignment]
        try:
            original(self, loader)
        finally:
            worker._worker_loop = _torch_worker_loop

    dataloader._MultiProcessingDataLoaderIter.__init__ = __init__  # type: ignore[method-assign]
    return True
