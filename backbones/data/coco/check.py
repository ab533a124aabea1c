"""Find everything wrong with a COCO annotation file before training, and fill in what can be computed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.data.coco.boxes import (
    Size,
    as_box,
    check_places,
    check_units,
    counted,
    fill_areas,
    fill_boxes,
    fill_crowds,
    left_out,
)
from backbones.data.coco.categories import check_names
from backbones.data.coco.findings import Findings, examples, name_of
from backbones.data.coco.frames import settle_sizes
from backbones.data.coco.ids import check_ids, check_references, number_annotations
from backbones.data.coco.images import find_images, has_size, read_sizes
from backbones.data.coco.outlines import Outline, read_outline, rectangle

Annotation = dict[str, Any]
ANY = 2**31  # a side that no coordinate is beyond


@dataclass(frozen=True)
class Outlines:
    """Number of annotations with an outline, and what is wrong with others, which matters for training masks."""

    usable: int
    total: int
    faults: tuple[str, ...]


def check_coco(content: dict[str, Any], folders: Sequence[Path], findings: Findings) -> tuple[Path, Outlines]:
    """Check the lists of an annotation file, and correct them in place.

    Args:
        content: as `read_coco_json` reads it; objects that no detector can find are removed from it.
        folders: possible folders of the images.
        findings: receives the findings.

    Returns:
        the folder of the images, and a summary of the outlines.
    """
    images, categories = content['images'], content['categories']
    if not images or not categories:
        findings.faults.append(f'lists {len(categories)} categories and {len(images)} images: it needs both')
        return folders[0], Outlines(0, 0, ())
    check_names(categories, findings)
    known = {
        'category_id': check_ids(categories, 'categories', findings),
        'image_id': check_ids(images, 'images', findings),
    }
    folder, found = find_images(images, folders, findings)
    other = read_sizes(found, folder, findings)
    annotations = content['annotations']
    for key, ids in known.items():
        annotations = check_references(annotations, key, ids, findings)
    settle_sizes(other, annotations, f'{len(images)} images', findings)
    sizes = {image['id']: (image['width'], image['height']) for image in found if has_size(image)}
    sizes |= {number: seen for number, (_, seen) in other.items()}
    outlines = _check_annotations([each for each in annotations if each['image_id'] in sizes], sizes, findings)
    _leave_out(content, sizes, findings)
    number_annotations(content['annotations'], findings)
    _note_unused(content, findings)
    return folder, outlines


def count_outlines(content: dict[str, Any]) -> Outlines:
    """Find out whether training would find any outline, without checking them all."""
    outlines = (annotation.get('segmentation') for annotation in content['annotations'])
    # Run lengths would need the size of their image.
    usable = any(
        bool(each) if isinstance(each, dict) else bool(read_outline(each, ANY, ANY).value) for each in outlines
    )
    return Outlines(int(usable), len(content['annotations']), ())


def _check_annotations(annotations: list[Annotation], sizes: dict[int, Size], findings: Findings) -> Outlines:
    places = [sizes[annotation['image_id']] for annotation in annotations]
    outlines = [
        read_outline(annotation.get('segmentation'), *size)
        for annotation, size in zip(annotations, places, strict=True)
    ]
    has_box = fill_boxes(annotations, outlines, places, findings)
    kept = [annotation for annotation, good in zip(annotations, has_box, strict=True) if good]
    kept_outlines = [outline for outline, good in zip(outlines, has_box, strict=True) if good]
    kept_places = [size for size, good in zip(places, has_box, strict=True) if good]
    summary = _clean_outlines(kept, kept_outlines, findings)
    check_units(kept, kept_outlines, kept_places, findings)
    check_places(kept, kept_outlines, kept_places, findings)
    fill_areas(kept, kept_outlines, kept_places, findings)
    fill_crowds(kept, findings)
    return summary


def _clean_outlines(annotations: list[Annotation], outlines: list[Outline], findings: Findings) -> Outlines:
    """Store cleaned outlines, replace those without an area by boxes, and count what is missing."""
    total = f'{len(annotations)} annotations'
    usable = sum(outline.value is not None for outline in outlines)
    shortened: Counter[str] = Counter()
    boxed = 0
    wrong: dict[str, list[str]] = {}
    for index, (annotation, outline) in enumerate(zip(annotations, outlines, strict=True)):
        if outline.fault:
            wrong.setdefault(outline.fault, []).append(name_of(annotation, index))
        elif outline.cut and outline.value is not None:
            annotation['segmentation'] = outline.value
            shortened[outline.cut] += 1
        elif outline.cut and usable:
            annotation['segmentation'] = rectangle(annotation['bbox'])
            boxed += 1
    for what, number in shortened.items():
        findings.corrected(number, total, f'have a segmentation that is put right: {what}')
    findings.corrected(boxed, total, 'have a segmentation without an area: their box takes its place')
    faults = [f'{len(names)} of {total}: segmentation {what} ({examples(names)})' for what, names in wrong.items()]
    missing = len(annotations) - usable - boxed - sum(map(len, wrong.values()))
    if usable and missing:
        faults.append(
            f'{missing} of {total} have no segmentation: give them one, take them out, or train on boxes alone '
            '(--cfg-options model.roi_head.mask_head=None)'
        )
    return Outlines(usable, len(annotations), tuple(faults))


def _leave_out(content: dict[str, Any], sizes: dict[int, Size], findings: Findings) -> None:
    """Remove objects that no detector can find, since the evaluation would count them as missed."""
    kept, reasons = [], []
    for annotation in content['annotations']:
        image = annotation.get('image_id')
        known = type(image) is int and image in sizes and as_box(annotation.get('bbox')) is not None
        reason = left_out(annotation, sizes[image]) if known else None
        if reason:
            reasons.append(reason)
        else:
            kept.append(annotation)
    findings.note(len(reasons), f'{len(content["annotations"])} annotations', f'are left out: {counted(reasons)}')
    findings.left_out = len(reasons)
    content['annotations'] = kept


def _note_unused(content: dict[str, Any], findings: Findings) -> None:
    used = Counter(annotation.get('category_id') for annotation in content['annotations'])
    unused = [category.get('name') for category in content['categories'] if not used.get(category.get('id'))]
    findings.note(
        len(unused) if used else 0, f'{len(content["categories"])} classes', f'have no annotation: {examples(unused)}'
    )
