"""A module in place of ``mmcv._ext``, the compiled operators that mmcv-lite lacks."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, NoReturn

from backbones.openmmlab.pairing import check_pairing

NAME = 'mmcv._ext'


class StandIn(ModuleType):
    """Has every operator that mmcv asks for on import; those that are not served raise when called.

    The operators, and torchvision below them, are imported at the first request for one.
    """

    def __init__(self) -> None:
        super().__init__(NAME, 'Operators of mmcv on torchvision and torch.')
        # Without a loader, code that checks for a compiled mmcv finds none, which is true.
        self.__spec__ = ModuleSpec(NAME, loader=None)

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith('__'):
            raise AttributeError(name)
        check_pairing()
        served = importlib.import_module('backbones.openmmlab.operators.served').OPERATORS
        self.__dict__.update(served)
        return served[name] if name in served else missing(name)


def missing(name: str) -> Callable[..., NoReturn]:
    """Make a function that raises, saying what to do about an operator that is not served."""

    def operator(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f'the mmcv operator {name!r} needs a compiled mmcv. Install one in place of mmcv-lite: '
            '`pip uninstall mmcv-lite && pip install --no-build-isolation "mmcv>=2.1"` builds it and needs a C++ '
            'compiler, and nvcc for CUDA.'
        )

    operator.__name__ = name
    return operator


def install() -> bool:
    """Put the stand-in where mmcv looks for its operators, unless compiled ones are there.

    Returns:
        whether the stand-in is there now.

    Raises:
        ModuleNotFoundError: mmcv is not installed.
    """
    if isinstance(sys.modules.get(NAME), StandIn):
        return True
    if NAME in sys.modules or _is_compiled():
        return False
    sys.modules[NAME] = StandIn()
    return True


def _is_compiled() -> bool:
    """Whether mmcv has operators of its own, found out without importing it."""
    package = importlib.util.find_spec('mmcv')
    if package is None:
        raise ModuleNotFoundError("No module named 'mmcv'", name='mmcv')
    return PathFinder.find_spec(NAME, package.submodule_search_locations) is not None
