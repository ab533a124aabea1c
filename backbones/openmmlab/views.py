"""Change names that one module or function of another package sees, without changing them for anyone else."""

from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any


class View(ModuleType):
    """A module with some names replaced; all others are looked up in the original."""

    def __init__(self, original: ModuleType, **replaced: Any) -> None:
        super().__init__(original.__name__, original.__doc__)
        self.__dict__.update(replaced, original=original)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__['original'], name)


def with_names(function: Callable[..., Any], **names: Any) -> Callable[..., Any]:
    """Copy a function so that it sees other values for some of its module's global names."""
    assert isinstance(function, FunctionType), function
    copy = FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__dict__.update(function.__dict__)
    return copy
