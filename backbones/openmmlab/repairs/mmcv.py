"""mmdet 3.3 and mmseg 1.2 refuse mmcv 2.2 while they are imported (mmdet#12312, mmcv#3096), though it works."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import mmcv

from backbones.openmmlab.import_hooks import on_import

REFUSED = (2, 2)
# What their checks get to see.
ACCEPTED = '2.1.0'
PACKAGES = ('mmdet', 'mmseg')


@contextmanager
def _accepted_version(package: ModuleType) -> Iterator[None]:
    """Let mmcv say that it is a version the package accepts."""
    true_version = mmcv.__version__
    mmcv.__version__ = ACCEPTED
    try:
        yield
    finally:
        mmcv.__version__ = true_version


def repair_version_check() -> bool:
    """Let mmdet and mmseg be imported beside mmcv 2.2, and say so; nothing with an older mmcv."""
    if tuple(int(part) for part in mmcv.__version__.split('.')[:2]) < REFUSED:
        return False
    for package in PACKAGES:
        on_import(package, _accepted_version)
    logging.getLogger(__name__).warning(
        'mmcv %s: the version check of mmdet and mmseg, which ends below 2.2, is passed over', mmcv.__version__
    )
    return True
