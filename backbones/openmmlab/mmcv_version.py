"""Let mmdet 3.3 and mmseg 1.2 import with mmcv 2.2, which they refuse though it works (mmdet#12312, mmcv#3096)."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from backbones.import_hooks import on_import

REFUSED = (2, 2)
# The version that their checks see.
ACCEPTED = '2.1.0'
PACKAGES = ('mmdet', 'mmseg')
DISTRIBUTIONS = ('mmcv', 'mmcv-lite')


def is_refused(mmcv_version: str) -> bool:
    """Whether mmdet and mmseg refuse this mmcv."""
    return tuple(int(part) for part in mmcv_version.split('.')[:2]) >= REFUSED


@contextmanager
def _accepted_version(package: ModuleType) -> Iterator[None]:
    """Make mmcv report a version that the package accepts."""
    import mmcv

    true_version = mmcv.__version__
    if is_refused(true_version):
        mmcv.__version__ = ACCEPTED
    try:
        yield
    finally:
        mmcv.__version__ = true_version


def accept_mmcv() -> None:
    """Allow mmdet and mmseg to be imported with any mmcv; `backbones` calls this before either is imported."""
    for package in PACKAGES:
        on_import(package, _accepted_version)


def present_mmcv() -> str | None:
    """Version of mmcv, found without importing it; None if mmcv is not installed."""
    loaded = getattr(sys.modules.get('mmcv'), '__version__', None)
    if loaded is not None:
        return loaded
    for name in DISTRIBUTIONS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def repair_version_check() -> bool:
    """Warn if mmdet and mmseg are used with an mmcv that they refuse; see `accept_mmcv`."""
    present = present_mmcv()
    if present is None or not is_refused(present):
        return False
    logging.getLogger(__name__).warning(
        'mmcv %s: the version check of mmdet and mmseg, which ends below 2.2, is passed over', present
    )
    return True
