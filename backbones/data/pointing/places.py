"""The places of a config that depend on the data set: classes, heads, evaluators."""

import colorsys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mmengine.config import Config

from backbones.data.layouts import known_layouts

PARTS = ('train', 'val')
Part = TypeVar('Part')


def palette(count: int) -> list[tuple[int, int, int]]:
    """Colours for classes, RGB: hues a golden angle apart, in two brightnesses.

    Colours are tuples, since mmdet's visualizer would read a list as a list of colours.
    """
    colours = [colorsys.hsv_to_rgb(index * 0.618033988749895 % 1, 1, (230, 160)[index % 2]) for index in range(count)]
    return [(round(red), round(green), round(blue)) for red, green, blue in colours]


def require(parts: dict[str, Any], need: Sequence[str], root: Path, kind: str) -> None:
    """Refuse a directory that lacks a part, and show the layouts of this kind.

    Raises:
        ValueError: the message names what is missing.
    """
    missing = [name for name in need if name not in parts]
    if missing:
        what = f'has no {" and no ".join(missing)} part' if parts else 'has a layout that is not known'
        raise ValueError(f'--data-root {root} {what}. {known_layouts(kind)}')


def same_classes(parts: dict[str, Any]) -> tuple[str, ...]:
    """The classes, which all parts must list in the same order.

    Raises:
        ValueError: the lists differ.
    """
    first, *others = parts.values()
    for other in others:
        if other.classes != first.classes:
            raise ValueError(
                f'{other.source} and {first.source} list other classes, or the same in another order, so that labels '
                f'would not agree: {", ".join(other.classes)} against {", ".join(first.classes)}'
            )
    return first.classes


def parts_in_use(parts: dict[str, Part]) -> Iterator[tuple[str, Part]]:
    """The parts found, training first."""
    return ((name, parts[name]) for name in PARTS if name in parts)


def evaluators(cfg: Config) -> Iterator[Any]:
    """The evaluators that read annotations from a file."""
    for key in ('val_evaluator', 'test_evaluator'):
        entry = cfg.get(key) or []
        yield from (item for item in (entry if isinstance(entry, list) else [entry]) if 'ann_file' in item)


def set_classes(cfg: Config, classes: tuple[str, ...]) -> list[str]:
    """Set the number of classes in all heads; return one line per thing set."""
    heads = [path for path, head in _with_num_classes(cfg.model, 'model')]
    for _, head in _with_num_classes(cfg.model, 'model'):
        head['num_classes'] = len(classes)
    names = ', '.join(classes[:10]) + (', ...' if len(classes) > 10 else '')
    return [f'{len(classes)} classes: {names}', *(f'{path}.num_classes = {len(classes)}' for path in heads)]


def _with_num_classes(node: Any, path: str) -> Iterator[tuple[str, dict]]:
    """Yield every dict under ``node`` with ``num_classes``: heads, single or in lists (cascades, auxiliary heads)."""
    if isinstance(node, dict) and 'num_classes' in node:
        yield path, node
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, value in entries:
        yield from _with_num_classes(value, f'{path}.{key}')
