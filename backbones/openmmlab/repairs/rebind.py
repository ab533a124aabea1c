"""Replace what other modules have imported by name, or will define once they are imported."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from backbones.import_hooks import on_import


def rebind(original: Callable[..., Any], replacement: Callable[..., Any]) -> None:
    """Put ``replacement`` wherever a loaded module of any package refers to ``original`` by its name."""
    for module in list(sys.modules.values()):
        # Some packages put objects other than modules there.
        if isinstance(module, ModuleType) and vars(module).get(original.__name__) is original:
            setattr(module, original.__name__, replacement)


def when_imported(path: str, repair: Callable[[type], bool]) -> bool:
    """Repair a class without importing its package: now if its module is loaded, else once the module has run.

    Args:
        path: module and name of the class.
        repair: takes the class; returns whether it had the defect.

    Returns:
        whether the repair acted or may still act.
    """
    module_name, _, name = path.rpartition('.')
    if module_name in sys.modules:
        return repair(getattr(sys.modules[module_name], name))

    @contextmanager
    def then_repair(module: ModuleType) -> Iterator[None]:
        yield
        repair(getattr(module, name))

    on_import(module_name, then_repair)
    return True
