"""Exchanging what other modules have imported by name, or will define once they are imported."""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from mmengine.registry import Registry

# Packages that hold references to each other's functions.
PACKAGES = ('mmengine', 'mmcv', 'mmdet', 'mmseg')


def rebind(original: Callable[..., Any], replacement: Callable[..., Any]) -> None:
    """Put ``replacement`` wherever a loaded OpenMMLab module refers to ``original`` by its name."""
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] in PACKAGES and vars(module).get(original.__name__) is original:
            setattr(module, original.__name__, replacement)


def when_registered(path: str, repair: Callable[[type], None]) -> None:
    """Repair a registered class of a package that need not be imported here: now, or as soon as it is registered.

    Args:
        path: module and name of the class.
        repair: takes the class; the names its module has imported are there by then.
    """
    module_name, _, name = path.rpartition('.')
    if module_name in sys.modules:
        repair(getattr(sys.modules[module_name], name))
    original = Registry._register_module

    @functools.wraps(original)
    def register(self: Registry, module: Any, *args: Any, **kwargs: Any) -> None:
        if inspect.isclass(module) and f'{module.__module__}.{module.__name__}' == path:
            repair(module)
        original(self, module, *args, **kwargs)

    Registry._register_module = register
