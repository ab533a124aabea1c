"""Point a config at a directory: find its layout, read its classes, set them wherever the config needs them."""

import colorsys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mmengine.config import Config

from backbones.data_folders import find_folders, training_classes
from backbones.data_layout import find_ade, find_coco, known_layouts, training_images

PARTS = ('train', 'val')
Part = TypeVar('Part')


def apply_data_root(cfg: Config, roots: str | Path | Sequence[str | Path], need: Sequence[str] = PARTS) -> list[str]:
    """Set dataset paths, class names and their number everywhere in a config.

    Args:
        cfg: detection (CocoDataset), segmentation (ADE20KDataset, BaseSegDataset), classification (LabelledImages)
            or pretraining config (a dataset without labels); changed in place.
        roots: the directory; pretraining takes several.
        need: parts that must exist, of 'train' and 'val'; the others are left as they are where they are absent.

    Returns:
        one line per thing set.

    Raises:
        ValueError: a directory, layout, part or class list is not what it has to be; the message says what is.
    """
    directories = [Path(root) for root in ([roots] if isinstance(roots, str | Path) else roots)]
    for directory in directories:
        if not directory.is_dir():
            raise ValueError(f'--data-root {directory}: there is no such directory')
    kind = cfg.train_dataloader.dataset.type
    if kind not in LABELLED:
        return _apply_images(cfg, directories)
    if len(directories) != 1:
        raise ValueError(f'{kind} takes one --data-root, got {len(directories)}: {", ".join(map(str, directories))}')
    return LABELLED[kind](cfg, directories[0], need)


def palette(count: int) -> list[list[int]]:
    """Colours for classes, RGB: hues a golden angle apart, in two brightnesses."""
    colours = [colorsys.hsv_to_rgb(index * 0.618033988749895 % 1, 1, (230, 160)[index % 2]) for index in range(count)]
    return [[round(value) for value in colour] for colour in colours]


def _apply_images(cfg: Config, roots: list[Path]) -> list[str]:
    chosen = [training_classes(training_images(root)) for root in roots]
    cfg.train_dataloader.dataset.data_root = [str(path) for path in chosen]
    return [
        f'pretraining images: {path}' + ('' if path == root else f' (only the training images of {root})')
        for path, root in zip(chosen, roots, strict=True)
    ]


def _apply_coco(cfg: Config, root: Path, need: Sequence[str]) -> list[str]:
    parts = find_coco(root)
    _require(parts, need, root, 'coco')
    classes = _same_classes(parts)
    done = []
    for name, part in _parts_in_use(parts):
        for loader in _loaders(cfg, name):
            loader.dataset.update(
                data_root='',
                ann_file=str(part.annotations),
                data_prefix=dict(img=str(part.images)),
                metainfo=dict(classes=classes, palette=palette(len(classes))),
            )
        done.append(f'{name}: {part.images}, {part.annotations}')
    if 'val' in parts:
        for evaluator in _evaluators(cfg):
            evaluator.ann_file = str(parts['val'].annotations)
    return [*done, *_set_classes(cfg, classes)]


def _apply_ade(cfg: Config, root: Path, need: Sequence[str]) -> list[str]:
    parts = find_ade(root)
    _require(parts, need, root, 'ade')
    classes = _same_classes(parts)
    done = []
    for name, part in _parts_in_use(parts):
        for loader in _loaders(cfg, name):
            loader.dataset.update(
                type='BaseSegDataset',
                data_root='',
                data_prefix=dict(img_path=str(part.images), seg_map_path=str(part.masks)),
                img_suffix=part.image_suffix,
                seg_map_suffix='.png',
                reduce_zero_label=True,
                metainfo=dict(classes=classes, palette=palette(len(classes))),
            )
        done.append(f'{name}: {part.images}, {part.masks} (label 0 is ignored)')
    return [*done, *_set_classes(cfg, classes)]


def _apply_folders(cfg: Config, root: Path, need: Sequence[str]) -> list[str]:
    parts = find_folders(root)
    _require(parts, need, root, 'folders')
    classes = _same_classes(parts)
    done = []
    for name, part in _parts_in_use(parts):
        for loader in _loaders(cfg, name):
            loader.dataset.data_root = str(part.images)
        done.append(f'{name}: {part.images}')
    return [*done, *_set_classes(cfg, classes)]


# Dataset that a config reads -> how to point it at a directory.
LABELLED = {
    'CocoDataset': _apply_coco,
    'ADE20KDataset': _apply_ade,
    'BaseSegDataset': _apply_ade,
    'LabelledImages': _apply_folders,
}


def _require(parts: dict[str, Any], need: Sequence[str], root: Path, kind: str) -> None:
    missing = [name for name in need if name not in parts]
    if missing:
        what = f'has no {" and no ".join(missing)} part' if parts else 'has a layout that is not known'
        raise ValueError(f'--data-root {root} {what}. {known_layouts(kind)}')


def _same_classes(parts: dict[str, Any]) -> tuple[str, ...]:
    first, *others = parts.values()
    for other in others:
        if other.classes != first.classes:
            raise ValueError(
                f'{other.source} and {first.source} list other classes, or the same in another order, so that labels '
                f'would not agree: {", ".join(other.classes)} against {", ".join(first.classes)}'
            )
    return first.classes


def _parts_in_use(parts: dict[str, Part]) -> Iterator[tuple[str, Part]]:
    return ((name, parts[name]) for name in PARTS if name in parts)


def _loaders(cfg: Config, part: str) -> Iterator[Any]:
    """Dataloaders that read a part; the test part of a published set has no labels, so that testing reads val."""
    for key in ('train_dataloader',) if part == 'train' else ('val_dataloader', 'test_dataloader'):
        if cfg.get(key) is not None:
            yield cfg[key]


def _evaluators(cfg: Config) -> Iterator[Any]:
    for key in ('val_evaluator', 'test_evaluator'):
        entry = cfg.get(key) or []
        yield from (item for item in (entry if isinstance(entry, list) else [entry]) if 'ann_file' in item)


def _set_classes(cfg: Config, classes: tuple[str, ...]) -> list[str]:
    heads = [path for path, head in _with_num_classes(cfg.model, 'model')]
    for _, head in _with_num_classes(cfg.model, 'model'):
        head['num_classes'] = len(classes)
    names = ', '.join(classes[:10]) + (', ...' if len(classes) > 10 else '')
    return [f'{len(classes)} classes: {names}', *(f'{path}.num_classes = {len(classes)}' for path in heads)]


def _with_num_classes(node: Any, path: str) -> Iterator[tuple[str, dict]]:
    """Every dict under ``node`` that counts classes: heads, alone or in lists (cascades, several auxiliary heads)."""
    if isinstance(node, dict) and 'num_classes' in node:
        yield path, node
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, value in entries:
        yield from _with_num_classes(value, f'{path}.{key}')
