"""Tell before training which part of a COCO data set mmdet will train on."""

from collections import Counter
from typing import Any

from backbones.data.coco.boxes import counted, not_trained_on


def training_lines(content: dict[str, Any], filter_cfg: dict[str, Any] | None) -> list[str]:
    """Write lines on annotations and images that training leaves out; none if it uses all.

    Args:
        content: the corrected annotations.
        filter_cfg: option of the training data set.

    Raises:
        ValueError: nothing is left to train on; the message says why.
    """
    annotations, images = content['annotations'], content['images']
    reasons = [reason for reason in map(not_trained_on, annotations) if reason]
    if len(reasons) == len(annotations):
        why = f'all {len(annotations)} are not trained on: {counted(reasons)}' if annotations else 'there are none'
        raise ValueError(f'no annotation to train on: {why}')
    kept = {annotation['image_id'] for annotation in annotations if not not_trained_on(annotation)}
    skipped = [reason for image in images if (reason := _skipped(image, kept, filter_cfg or {}))]
    if len(skipped) == len(images):
        raise ValueError(f'no image to train on: all {len(images)} are left out, {counted(skipped)}')
    lines = []
    if reasons:
        used = len(annotations) - len(reasons)
        lines.append(f'{used} of {len(annotations)} annotations are trained on; not {counted(reasons)}')
    if skipped:
        lines.append(f'{len(images) - len(skipped)} of {len(images)} images are trained on; not {counted(skipped)}')
    return lines


def _skipped(image: dict[str, Any], kept: set[int], filter_cfg: dict[str, Any]) -> str | None:
    """Why the loader leaves an image out, or None."""
    least = filter_cfg.get('min_size', 0)
    if min(image['width'], image['height']) < least:
        return f'below {least} px (train_dataloader.dataset.filter_cfg.min_size)'
    if filter_cfg.get('filter_empty_gt') and image['id'] not in kept:
        return 'without an annotation to train on (filter_cfg.filter_empty_gt)'
    return None


def evaluation_lines(content: dict[str, Any]) -> list[str]:
    """Write a line if there is nothing to evaluate against."""
    if any(not annotation['iscrowd'] for annotation in content['annotations']):
        return []
    what = 'holds only crowds' if content['annotations'] else 'has no annotation'
    return [f'warning: it {what}: the figures of an evaluation mean nothing (-1 or 0)']


def most_objects(content: dict[str, Any]) -> int:
    """Largest number of objects in an image."""
    return max(Counter(str(annotation.get('image_id')) for annotation in content['annotations']).values(), default=0)
