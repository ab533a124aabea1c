"""``--norm``: replace batch norm over all processes, for runs with too few images for it."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

SYNCED = ('SyncBN', 'MMSyncBN', 'SyncBatchNorm')
# Replacement norms: type in norm_cfg -> name in the pyramid.
OTHERS = {'LN2d': 'ln', 'GN': 'gn', 'BN': 'bn'}
OPTIONS: dict[str, dict[str, Any]] = {'LN2d': dict(eps=1e-6), 'GN': dict(num_groups=32), 'BN': {}}


def set_norm(cfg: Config, kind: str) -> list[str]:
    """Replace the batch norms over all processes (SyncBN) of a model.

    Raises:
        ValueError: the model has none.
    """
    found = list(_synced(cfg.model, 'model'))
    if not found:
        raise ValueError(f'--norm {kind}: this model has no SyncBN')
    for owner, key, _ in found:
        owner[key] = OTHERS[kind] if isinstance(owner[key], str) else dict(type=kind, **OPTIONS[kind])
    return [f'{kind} in place of SyncBN: {", ".join(path for _, _, path in found)}']


def check_norms(cfg: Config, images: int) -> list[str]:
    """Refuse batch norm over a single image, and warn about batch norm over a few.

    Args:
        cfg: complete config.
        images: images of all processes in one iteration, which the norm averages over, even with accumulation.

    Raises:
        ValueError: there is one image.
    """
    places = [path for _, _, path in _synced(cfg.model, 'model')]
    if not places or images >= 8:
        return []
    where = f'SyncBN ({", ".join(places)}) averages over the {images} image(s) of one iteration'
    if images == 1:
        raise ValueError(
            f'{where}, accumulated ones not counted: that is not the recipe. Take --norm LN2d (here and in '
            'tools/test.py), a greater --batch-size, or more processes'
        )
    return [f'warning: {where}, accumulated ones not counted; --norm LN2d or GN does not depend on them']


def _synced(node: Any, path: str) -> Iterator[tuple[Any, str, str]]:
    """Yield owner, key and path of every place that uses SyncBN."""
    if isinstance(node, dict):
        for key, value in node.items():
            name = value.get('type') if isinstance(value, dict) else value
            if (key == 'norm_cfg' and name in SYNCED) or (key == 'norm' and name == 'syncbn'):
                yield node, key, f'{path}.{key}'
            else:
                yield from _synced(value, f'{path}.{key}')
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _synced(value, f'{path}.{index}')
