"""Hooks around the import of another package's module, so that it need not be imported here."""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Makes a context that is entered before a module's code runs and left after it.
Around = Callable[[ModuleType], AbstractContextManager[None]]


class _Loader:
    """Runs a module's code within contexts; otherwise acts as the loader that it wraps."""

    def __init__(self, original: Any, around: list[Around]) -> None:
        self.original = original
        self.around = around

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.original.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # Code that later asks the module for its files or source finds the original loader.
        module.__loader__ = self.original
        if module.__spec__ is not None:
            module.__spec__.loader = self.original
        with ExitStack() as stack:
            for around in self.around:
                stack.enter_context(around(module))
            self.original.exec_module(module)


class _Finder:
    """Finds the hooked modules through the other finders, and wraps their loader in a `_Loader`."""

    def __init__(self) -> None:
        self.told: dict[str, list[Around]] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self.told:
            return None
        finders = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, 'find_spec'))
        specs = (finder.find_spec(name, path, target) for finder in finders)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self.told[name])  # type: ignore[assignment]
        return spec


_finder = _Finder()


def on_import(name: str, around: Around) -> None:
    """Have the code of a module that is not imported yet run within ``around(module)``."""
    _finder.told.setdefault(name, []).append(around)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
