"""Exchanging a function that other modules have imported by name."""

import sys
from collections.abc import Callable
from typing import Any

# Packages that hold references to each other's functions.
PACKAGES = ('mmengine', 'mmcv', 'mmdet', 'mmseg')


def rebind(original: Callable[..., Any], replacement: Callable[..., Any]) -> None:
    """Put ``replacement`` wherever a loaded OpenMMLab module refers to ``original`` by its name."""
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] in PACKAGES and vars(module).get(original.__name__) is original:
            setattr(module, original.__name__, replacement)
