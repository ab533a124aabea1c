"""Plain ViT backbones, pyramids, layer-wise decay and checkpoint loading; OpenMMLab knows them by the same names.

Importing is light: ``from backbones.vit import PlainViT`` imports PyTorch and nothing of OpenMMLab, and the names below
are imported on first use. OpenMMLab still works in full: once mmengine is imported (now, if it already is),
`backbones.registration` makes mmdet and mmseg importable and registers everything. One line in any mmdet or mmseg
config is enough: ``custom_imports = dict(imports=['backbones'])``.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import lazy_loader

from backbones.import_hooks import on_import
from backbones.openmmlab.mmcv_version import accept_mmcv

# __init__.pyi lists the names and where they come from; type checkers and editors read it too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


@contextmanager
def _then_register(mmengine: ModuleType) -> Iterator[None]:
    yield
    importlib.import_module('backbones.registration')


accept_mmcv()
if 'mmengine' in sys.modules:
    importlib.import_module('backbones.registration')
else:
    # All of OpenMMLab imports mmengine first, and none of its packages needs compiled operators before that.
    on_import('mmengine', _then_register)
