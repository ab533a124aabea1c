"""Check and complete the boxes of COCO annotations: four finite numbers, in pixels, in the image."""

import math
from collections.abc import Iterable
from itertools import islice
from typing import Any

from backbones.data.coco.findings import Findings, examples, name_of
from backbones.data.coco.outlines import Outline, area_of, box_of

NUMBERS = (int, float)
# Number of boxes to compare with their outlines, to tell corners from width and height.
COMPARED = 1000
# Least intersection over union of an object's box and outline; a box shifted by half its sides has 1/7.
LEAST_OVERLAP = 0.25
Annotation = dict[str, Any]
Size = tuple[int, int]


def as_box(value: Any) -> list[float] | None:
    """Return a value if it is four finite numbers, else None."""
    if not isinstance(value, list) or len(value) != 4 or not all(type(number) in NUMBERS for number in value):
        return None
    return value if all(math.isfinite(number) for number in value) else None


def fill_boxes(
    annotations: list[Annotation], outlines: list[Outline], sizes: list[Size], findings: Findings
) -> list[bool]:
    """Derive missing boxes from the outlines; return which annotations have a box now."""
    total = f'{len(annotations)} annotations'
    filled, missing, odd = 0, [], []
    for index, (annotation, outline, size) in enumerate(zip(annotations, outlines, sizes, strict=True)):
        box = annotation.get('bbox')
        if as_box(box) is not None:
            continue
        if box is None or box == []:
            if outline.value is None:
                missing.append(name_of(annotation, index))
            else:
                annotation['bbox'] = box_of(outline.value, *size)
                filled += 1
        else:
            odd.append(f'{name_of(annotation, index)} has {box}')
    findings.corrected(filled, total, 'have no bbox: taken from segmentation')
    findings.fault(len(missing), total, f'have neither bbox nor segmentation: {examples(missing)}')
    findings.fault(len(odd), total, f'have a bbox that is not four finite numbers x, y, width, height: {examples(odd)}')
    return [as_box(annotation.get('bbox')) is not None for annotation in annotations]


def check_units(annotations: list[Annotation], outlines: list[Outline], sizes: list[Size], findings: Findings) -> None:
    """Recognise boxes given as shares of the image, or as corners in place of width and height."""
    boxes = [annotation['bbox'] for annotation in annotations]
    if boxes and all(0 <= value <= 1 for box in boxes for value in box):
        findings.faults.append(
            f'all {len(boxes)} boxes lie between 0 and 1 ({boxes[0]}): shares of the image? COCO has pixels'
        )
        return
    drawn = ((box, outline.value) for box, outline in zip(boxes, outlines, strict=True) if type(outline.value) is list)
    compared = [is_corners(box, outline) for box, outline in islice(drawn, COMPARED)]
    beyond = sum(x + w > size[0] + 1 or y + h > size[1] + 1 for (x, y, w, h), size in zip(boxes, sizes, strict=True))
    total, right = f'{len(boxes)} boxes', 'COCO has x, y, width, height'
    if 2 * sum(compared) > len(compared):
        of = f'{len(compared)} boxes compared'
        findings.fault(sum(compared), of, f'name the corners x1, y1, x2, y2 of their segmentation; {right}')
    elif 2 * beyond > len(boxes):
        findings.fault(beyond, total, f'reach beyond their image: corners x1, y1, x2, y2? {right}')
    else:
        findings.note(beyond, total, 'reach beyond their image')


def check_places(annotations: list[Annotation], outlines: list[Outline], sizes: list[Size], findings: Findings) -> None:
    """Find outlines that lie elsewhere than their boxes: as image shares, x and y swapped, or boxes by their centre."""
    places = zip(annotations, outlines, sizes, strict=True)
    drawn = (
        (annotation['bbox'], box_of(outline.value, *size))
        for annotation, outline, size in places
        if outline.value and min(annotation['bbox'][2:]) > 0
    )
    compared = list(islice(drawn, COMPARED))
    apart = [
        f'bbox {box}, segmentation spans {[round(value, 1) for value in outlined]}'
        for box, outlined in compared
        if overlap(box, outlined) < LEAST_OVERLAP
    ]
    total = f'{len(compared)} annotations compared'
    what = f'have a segmentation elsewhere than their bbox: {examples(apart)}'
    if 2 * len(apart) > len(compared):
        findings.fault(len(apart), total, f'{what}. COCO has both in pixels, x before y, and boxes from their corner')
    else:
        findings.note(len(apart), total, what)


def overlap(one: list[float], other: list[float]) -> float:
    """Intersection over union of two boxes x, y, width, height."""
    (a, b, w, h), (c, d, v, g) = one, other
    inside = max(0, min(a + w, c + v) - max(a, c)) * max(0, min(b + h, d + g) - max(b, d))
    return inside / max(w * h + v * g - inside, 1e-9)


def is_corners(box: list[float], outline: list[list[float]]) -> bool:
    """Whether a box gives its polygons' corners x1, y1, x2, y2, within two pixels, and not their width and height."""
    left, top, width, height = box_of(outline, 0, 0)
    as_corners = max(abs(a - b) for a, b in zip(box, (left, top, left + width, top + height), strict=True))
    return as_corners <= 2 < max(abs(box[2] - width), abs(box[3] - height))


def fill_areas(annotations: list[Annotation], outlines: list[Outline], sizes: list[Size], findings: Findings) -> None:
    """Compute areas that are missing or not above 0, since mmdet would drop the objects."""
    filled = 0
    for annotation, outline, size in zip(annotations, outlines, sizes, strict=True):
        area, (_, _, width, height) = annotation.get('area'), annotation['bbox']
        if _is_positive(area) or width <= 0 or height <= 0:
            continue
        inside = area_of(outline.value, *size) if outline.value is not None else 0
        annotation['area'] = inside or width * height
        filled += 1
    findings.corrected(
        filled, f'{len(annotations)} annotations', 'have no area above 0: computed from segmentation or bbox'
    )


def _is_positive(value: Any) -> bool:
    return type(value) in NUMBERS and math.isfinite(value) and value > 0


def fill_crowds(annotations: list[Annotation], findings: Findings) -> None:
    """Set missing ``iscrowd`` to 0."""
    total = f'{len(annotations)} annotations'
    for annotation in annotations:
        if isinstance(annotation.get('iscrowd'), str) and annotation['iscrowd'].strip() in ('0', '1'):
            annotation['iscrowd'], findings.changed = int(annotation['iscrowd']), True
    missing = [annotation for annotation in annotations if annotation.get('iscrowd') is None]
    odd = [annotation['iscrowd'] for annotation in annotations if annotation.get('iscrowd') not in (None, 0, 1)]
    for annotation in missing:
        annotation['iscrowd'] = 0
    findings.corrected(len(missing), total, 'have no iscrowd: 0')
    findings.fault(len(odd), total, f'have an iscrowd that is neither 0 nor 1: {examples(odd)}')


def left_out(annotation: Annotation, size: Size) -> str | None:
    """Why no detector can find an object: its box is empty or outside the image; None for others."""
    x, y, width, height = annotation['bbox']
    if width < 0 or height < 0:
        return 'boxes with a width or height below 0'
    if width == 0 or height == 0:
        return 'boxes without width or height'
    if min(x + width, size[0]) <= max(x, 0) or min(y + height, size[1]) <= max(y, 0):
        return 'boxes beside their image'
    return None


def not_trained_on(annotation: Annotation) -> str | None:
    """Why mmdet does not train on a valid object; None if it does."""
    if annotation['iscrowd']:
        return 'crowds (iscrowd=1)'
    if annotation.get('ignore'):
        return "marked 'ignore'"
    if min(annotation['bbox'][2:]) < 1:
        return 'boxes thinner than a pixel'
    return None


def counted(reasons: Iterable[str]) -> str:
    """Count equal reasons: '2 crowds, 1 boxes beside their image'."""
    found: dict[str, int] = {}
    for reason in reasons:
        found[reason] = found.get(reason, 0) + 1
    return ', '.join(f'{count} {reason}' for reason, count in found.items())
