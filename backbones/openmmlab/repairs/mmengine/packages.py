"""Look up installed packages without functions that newer setuptools and Python have dropped."""

import importlib.util
import pkgutil
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import mmengine.utils.package_utils as upstream

from backbones.openmmlab.repairs.rebind import rebind


def is_installed(package: str) -> bool:
    """Whether a distribution or an importable module has this name."""
    try:
        distribution(package)
    except PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def package2module(package: str) -> str:
    """Name under which a distribution is imported (``mmcv-lite`` -> ``mmcv``).

    Raises:
        PackageNotFoundError: there is no such distribution.
        ValueError: its metadata does not name it.
    """
    names = (distribution(package).read_text('top_level.txt') or '').split()
    if not names:
        raise ValueError(f'cannot tell under which name {package} is imported: give the name of its module')
    return names[0]


def get_installed_path(package: str) -> str:
    """Folder of a package, given the name of its module or of its distribution.

    Raises:
        PackageNotFoundError: there is neither.
        RuntimeError: it is a namespace package, which has no single folder.
    """
    spec = _spec(package) or _spec(package2module(package))
    if spec is None:
        raise PackageNotFoundError(package)
    if spec.origin is None:
        raise RuntimeError(f'{package} is a namespace package and has no folder of its own: name one of its parts')
    return str(Path(spec.origin).parent)


def _spec(name: str) -> ModuleSpec | None:
    return importlib.util.find_spec(name) if name.isidentifier() else None


def repair_package_lookup() -> bool:
    """Look up packages through importlib (mmengine#1676): setuptools 82 has dropped `pkg_resources`.

    Without it ``_base_ = 'mmdet::...'``, `mmengine.hub` and `is_installed` fail.
    """
    wants = 'pkg_resources' in upstream.is_installed.__code__.co_names
    if not wants or importlib.util.find_spec('pkg_resources') is not None:
        return False
    for function in (is_installed, package2module, get_installed_path):
        rebind(getattr(upstream, function.__name__), function)
    return True


def find_loader(name: str) -> Any:
    """Return a module's loader or None, as `pkgutil.find_loader` did until Python 3.13."""
    spec = importlib.util.find_spec(name)
    return spec.loader if spec else None


def repair_find_loader() -> bool:
    """Bring back `pkgutil.find_loader` (cpython#120581), which mmengine and mmcv use to find compiled operators."""
    if hasattr(pkgutil, 'find_loader'):
        return False
    pkgutil.find_loader = find_loader  # type: ignore[attr-defined,assignment]
    return True
