"""The outlines (``segmentation``) of COCO annotations: polygons and run lengths."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

NUMBERS = {int, float}
# x and y of three corners.
LEAST = 6


@dataclass
class Outline:
    """What an annotation's ``segmentation`` holds.

    Attributes:
        value: the usable outline, None if there is none.
        fault: why it cannot be used.
        cut: what was changed to give it COCO's form, for people.
    """

    value: Any = None
    fault: str | None = None
    cut: str | None = None


CUT = 'pieces of fewer than three points, or without an area, are left out'
FLAT = 'a single piece is put into a list'


def read_outline(value: Any, width: int, height: int) -> Outline:
    """Check an outline in an image of ``width`` x ``height`` pixels."""
    if isinstance(value, dict) and value:
        return _run_lengths(value, width, height)
    if not value:
        return Outline()
    if not isinstance(value, list):
        return Outline(fault='is neither a list of polygons nor run lengths')
    if len(value) == 1 and isinstance(value[0], dict):
        return replace(_run_lengths(value[0], width, height), cut='run lengths are taken out of a list')
    pieces = value if isinstance(value[0], list) else [value]
    return _polygons(pieces, max(width, height), flat=pieces is not value)


def _polygons(pieces: list[Any], side: int, flat: bool) -> Outline:
    kept = []
    for piece in pieces:
        if not isinstance(piece, list) or not set(map(type, piece)) <= NUMBERS:
            return Outline(fault='has coordinates that are no numbers')
        if piece and not math.isfinite(sum(piece)):
            return Outline(fault='has coordinates that are not finite')
        if piece and (min(piece) < -side or max(piece) > 2 * side):
            return Outline(fault='reaches far beyond the image')
        if len(piece) >= LEAST and len(piece) % 2 == 0 and _has_area(piece):
            kept.append(piece)
    return Outline(kept or None, cut=CUT if len(kept) < len(pieces) else FLAT if flat else None)


def _has_area(piece: list[float]) -> bool:
    """Whether the corners of a polygon do not all lie on a line; mmdet silently drops objects without a pixel."""
    points = list(zip(piece[0::2], piece[1::2], strict=True))
    x, y = points[0]
    a, b = next((point for point in points if point != (x, y)), (x, y))
    return any((a - x) * (d - y) != (b - y) * (c - x) for c, d in points)


def _run_lengths(value: dict[str, Any], width: int, height: int) -> Outline:
    if list(value.get('size') or ()) != [height, width]:
        return Outline(fault=f'has run lengths of size {value.get("size")} in an image of {[height, width]}')
    counts = value.get('counts')
    try:
        lengths = np.asarray(counts) if isinstance(counts, list) else _unpacked(str(counts))
        sound = lengths.dtype.kind in 'iu' and bool((lengths >= 0).all()) and int(lengths.sum()) == width * height
    except (AttributeError, TypeError, ValueError):
        sound = False
    if not sound:
        return Outline(fault='has run lengths that do not fill the image')
    return Outline(value if int(lengths[1::2].sum()) else None)


def _unpacked(text: str) -> np.ndarray:
    """Decode COCO's compressed run lengths: base 32, least digit first, as differences from the fourth one on."""
    digits = np.frombuffer(text.encode('ascii'), np.uint8).astype(np.int64) - 48
    if digits.size == 0 or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise ValueError('no run lengths')
    last = (digits & 32) == 0
    number = np.concatenate([[0], np.cumsum(last)[:-1]])
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    place = np.arange(digits.size) - starts[number]
    if place.max() > 11:
        raise ValueError('a run length beyond 60 bits')
    values = np.zeros(int(last.sum()), np.int64)
    np.add.at(values, number, (digits & 31) << (5 * place))
    negative = (digits[last] & 16) != 0
    values[negative] -= np.int64(1) << (5 * (place[last][negative] + 1))
    for first in (1, 2):
        values[first::2] = np.cumsum(values[first::2])
    return values


def box_of(outline: Any, width: int, height: int) -> list[float]:
    """The box (left, top, width, height) around an outline."""
    if isinstance(outline, dict):
        return [float(value) for value in coco_mask.toBbox(_encoded(outline, width, height))]
    x = [value for piece in outline for value in piece[0::2]]
    y = [value for piece in outline for value in piece[1::2]]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def area_of(outline: Any, width: int, height: int) -> float:
    """Pixels inside an outline."""
    return float(coco_mask.area(_encoded(outline, width, height)))


def rectangle(box: list[float]) -> list[list[float]]:
    """The outline of a box."""
    x, y, w, h = box
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def _encoded(outline: Any, width: int, height: int) -> dict[str, Any]:
    if isinstance(outline, list):
        return coco_mask.merge(coco_mask.frPyObjects(outline, height, width))
    if isinstance(outline['counts'], list):
        return coco_mask.frPyObjects(outline, height, width)
    return outline
