"""Point a detection config at a directory in a COCO layout."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from backbones.data_layout import find_coco
from backbones.data_places import evaluators, palette, parts_in_use, require, same_classes, set_classes
from backbones.data_sets import loaded_datasets


def apply_coco(cfg: Config, root: Path, need: Sequence[str]) -> list[str]:
    """Set annotation files, image folders and classes; returns one line per thing set.

    Raises:
        ValueError: the layout, a part or an annotation file is not what it has to be.
    """
    parts = find_coco(root)
    require(parts, need, root, 'coco')
    classes = same_classes(parts)
    done = []
    for name, part in parts_in_use(parts):
        for _, (dataset,) in loaded_datasets(cfg, name):
            dataset.update(
                data_root='',
                ann_file=str(part.annotations),
                data_prefix=dict(img=str(part.images)),
                metainfo=dict(classes=classes, palette=palette(len(classes))),
            )
        done.append(f'{name}: {part.images}, {part.annotations}')
    if 'val' in parts:
        for evaluator in evaluators(cfg):
            evaluator.ann_file = str(parts['val'].annotations)
    return [*done, *set_classes(cfg, classes)]
