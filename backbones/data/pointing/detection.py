"""Point a detection config at a directory in a COCO layout."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from backbones.data.coco.layout import CocoPart, find_coco
from backbones.data.coco.summary import evaluation_lines, most_objects, training_lines
from backbones.data.pointing.boxes_only import detect_boxes_only, learns_masks, read_boxes_only, reads_masks
from backbones.data.pointing.datasets import loaded_datasets
from backbones.data.pointing.detection_limit import raise_limits
from backbones.data.pointing.places import evaluators, palette, parts_in_use, require, same_classes, set_classes


def apply_coco(cfg: Config, root: Path, need: Sequence[str]) -> list[str]:
    """Set annotation files, image folders, classes, and everything else that depends on the annotations.

    Corrected annotations are written to the working directory, where training and evaluation read them.

    Returns:
        one line per thing set, and per thing that is odd.

    Raises:
        ValueError: the layout, a part or an annotation file is not as it has to be.
    """
    parts = find_coco(root, learns_masks(cfg), need)
    require(parts, need, root, 'coco')
    classes = same_classes(parts)
    done = []
    for name, part in parts_in_use(parts):
        if name not in need:
            continue
        lines = _lines(cfg, name, part)
        file = _readable(cfg, name, part)
        done += [f'{name}: {part.images}, {file}', *lines]
        for _, (dataset,) in loaded_datasets(cfg, name):
            dataset.update(
                data_root='',
                ann_file=str(file),
                data_prefix=dict(img=str(part.images)),
                metainfo=dict(classes=classes, palette=palette(len(classes))),
            )
        if name == 'val':
            for evaluator in evaluators(cfg):
                evaluator.ann_file = str(file)
    done += _settle_masks(cfg, parts)
    done += raise_limits(cfg, max(most_objects(part.content) for part in parts.values()), evaluators(cfg))
    return [*done, *set_classes(cfg, classes)]


def _readable(cfg: Config, name: str, part: CocoPart) -> Path:
    """File to read a part from: its own, or a corrected one, which is written here."""
    if not part.changed:
        return part.annotations
    file = Path(cfg.get('work_dir') or 'work_dirs') / 'annotations' / f'{name}.json'
    file.parent.mkdir(parents=True, exist_ok=True)
    # Every process writes the same content, and completes the file before it gets its final name.
    part_file = file.with_suffix(f'.{os.getpid()}')
    part_file.write_text(json.dumps(part.content), encoding='utf-8')
    part_file.replace(file)
    return file


def _lines(cfg: Config, name: str, part: CocoPart) -> list[str]:
    """Tell what was corrected in a part and what of it is not used."""
    lines = list(part.notes)
    if part.changed:
        lines.append(f'corrected annotations of {part.annotations} are read in place of it')
    if name == 'train':
        filters: list[Any] = [dataset.get('filter_cfg') for _, (dataset,) in loaded_datasets(cfg, 'train')]
        try:
            lines += training_lines(part.content, filters[0] if filters else None)
        except ValueError as error:
            raise ValueError(f'{part.annotations}: {"; ".join([str(error), *part.notes])}') from error
    else:
        lines += evaluation_lines(part.content)
    return [f'{name}: {line}' for line in lines]


def _settle_masks(cfg: Config, parts: dict[str, CocoPart]) -> list[str]:
    """Learn, load and evaluate masks only if there are outlines."""
    without = {name for name, part in parts.items() if part.outlines.total and not part.outlines.usable}
    first = next(name for name, _ in parts_in_use(parts))
    if first in without or (reads_masks(cfg) and not learns_masks(cfg)):
        return detect_boxes_only(cfg)
    if 'val' in without and reads_masks(cfg):
        return ['val: no segmentation', *read_boxes_only(cfg, ('val_dataloader', 'test_dataloader'))]
    return []
