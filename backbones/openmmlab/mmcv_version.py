"""mmdet 3.3 and mmseg 1.2 refuse mmcv 2.2 while they are imported (mmdet#12312, mmcv#3096), though it works."""

import logging
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import mmcv

REFUSED = (2, 2)
# What their checks get to see.
ACCEPTED = '2.1.0'
PACKAGES = ('mmdet', 'mmseg')


class _Loader(Loader):
    """Runs a package's ``__init__`` while mmcv says that it is a version the package accepts."""

    def __init__(self, original: Loader) -> None:
        self.original = original

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.original.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        true_version = mmcv.__version__
        mmcv.__version__ = ACCEPTED
        try:
            self.original.exec_module(module)
        finally:
            mmcv.__version__ = true_version


class _Finder(MetaPathFinder):
    """Finds `PACKAGES` where the other finders do, and wraps their loaders."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in PACKAGES:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


def accept_newer_mmcv() -> None:
    """Let mmdet and mmseg be imported beside mmcv 2.2, and say so; nothing with an older mmcv."""
    if tuple(int(part) for part in mmcv.__version__.split('.')[:2]) < REFUSED:
        return
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    logging.getLogger(__name__).warning(
        'mmcv %s: the version check of mmdet and mmseg, which ends below 2.2, is passed over', mmcv.__version__
    )
