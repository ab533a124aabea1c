"""Plain ViT backbones, pyramids, layer-wise decay and the checkpoint door; in OpenMMLab under their names.

Entering is light: ``from backbones.vit import PlainViT`` imports PyTorch and nothing of OpenMMLab, and the names below
are imported when they are asked for. Whoever uses OpenMMLab loses nothing by that: as soon as mmengine is imported, or
at once where it is already, `backbones.registration` makes mmdet and mmseg importable and registers everything. One
line in any mmdet or mmseg config is enough: ``custom_imports = dict(imports=['backbones'])``.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import lazy_loader

from backbones.import_hooks import on_import
from backbones.openmmlab.mmcv_version import accept_mmcv

# The names, and where they come from: __init__.pyi, which type checkers and editors read too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


@contextmanager
def _then_register(mmengine: ModuleType) -> Iterator[None]:
    yield
    importlib.import_module('backbones.registration')


accept_mmcv()
if 'mmengine' in sys.modules:
    importlib.import_module('backbones.registration')
else:
    # Every way into OpenMMLab leads through mmengine, and none of its packages asks for compiled operators before.
    on_import('mmengine', _then_register)
