"""Images whose size differs from their COCO file: find out which of both sizes the annotations use."""

from typing import Any

from backbones.data.coco.boxes import as_box
from backbones.data.coco.findings import Findings

Size = tuple[int, int]


def settle_sizes(
    other: dict[int, tuple[dict[str, Any], Size]], annotations: list[dict[str, Any]], total: str, findings: Findings
) -> None:
    """Use the sizes as seen if boxes prove them right; any other case is a fault.

    In the commonest case, EXIF turns a photo: the file gives the size of the stored pixels, and boxes fit only the
    image as seen. Boxes that fit both sizes, or only the file's, prove nothing: the image may have been resized, or
    the boxes may refer to the stored pixels.

    Args:
        other: id -> an image as the file lists it, and its width and height as seen.
        annotations: annotations of all images.
        total: number of images, for people.
        findings: receives a note or a fault.
    """
    if not other:
        return
    seen_only = said_only = 0
    for annotation in annotations:
        if annotation['image_id'] in other:
            image, seen = other[annotation['image_id']]
            in_seen, in_said = _fits(annotation, seen), _fits(annotation, (image['width'], image['height']))
            seen_only += in_seen and not in_said
            said_only += in_said and not in_seen
    image, seen = next(iter(other.values()))
    example = (
        f'{image["file_name"]} is {seen[0]}x{seen[1]} as seen, the json says {image["width"]}x{image["height"]}'
        + (' (turned by EXIF, or width and height exchanged)' if seen == (image['height'], image['width']) else '')
    )
    if seen_only and not said_only:
        for image, size in other.values():
            image['width'], image['height'] = size
        what = f'have another size: {example}; {seen_only} boxes fit only the size as seen, which is taken'
        findings.corrected(len(other), total, what)
    else:
        what = f'have another size: {example}. Give sizes, boxes and outlines in pixels of the image as seen'
        findings.fault(len(other), total, what)


def _fits(annotation: dict[str, Any], size: Size) -> bool:
    """Whether an annotation lies in an image of this width and height, within a pixel."""
    outline = annotation.get('segmentation')
    if isinstance(outline, dict) and outline.get('size'):
        return list(outline['size']) == [size[1], size[0]]
    box = as_box(annotation.get('bbox'))
    return box is None or (box[0] + box[2] <= size[0] + 1 and box[1] + box[3] <= size[1] + 1)
