"""Point a segmentation config at a directory of images and label maps."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from backbones.data.label_maps.layout import AdePart, find_ade
from backbones.data.pointing.datasets import in_scope, loaded_datasets
from backbones.data.pointing.places import PARTS, palette, parts_in_use, require, same_classes, set_classes


def apply_ade(cfg: Config, root: Path, need: Sequence[str], zero_is_class: bool | None = None) -> list[str]:
    """Set directories, suffixes, classes and the meaning of label 0; return one line per thing set.

    Args:
        cfg: changed in place.
        root: the directory.
        need: parts that must exist.
        zero_is_class: see `find_ade`; None means True if the config says ``reduce_zero_label=False``.

    Raises:
        ValueError: the layout, a part, a pair or a label is not as it has to be.
    """
    if zero_is_class is None and _config_keeps_zero(cfg):
        zero_is_class = True
    parts = find_ade(root, zero_is_class)
    require(parts, need, root, 'ade')
    classes = same_classes(parts)
    done = []
    for name, part in parts_in_use(parts):
        for _, (dataset,) in loaded_datasets(cfg, name):
            _set_files(dataset, part)
            dataset.metainfo = dict(classes=classes, palette=palette(len(classes)))
            for step in _label_readers(dataset):
                step['reduce_zero_label'] = dataset.reduce_zero_label
        zero = f'label 0 is {classes[0]}' if part.first_label == 0 else 'label 0 is ignored'
        done.append(f'{name}: {len(part.pairs.images)} images in {part.images}, {part.masks} ({zero})')
    notes = next(iter(parts.values())).notes
    return [*done, *notes, *set_classes(cfg, classes)]


def _set_files(dataset: Any, part: AdePart) -> None:
    images, masks = part.pairs.image_suffixes, part.pairs.mask_suffixes
    dataset.update(
        data_root='',
        data_prefix=dict(img_path=str(part.images), seg_map_path=str(part.masks)),
        reduce_zero_label=part.first_label == 1,
    )
    if len(images) == len(masks) == 1:
        dataset.update(type=in_scope('BaseSegDataset', dataset.type), img_suffix=images[0], seg_map_suffix=masks[0])
    else:
        dataset.type = 'SegmentationPairs'
        for key in ('img_suffix', 'seg_map_suffix', 'ignore_index', 'backend_args'):
            dataset.pop(key, None)


def _config_keeps_zero(cfg: Config) -> bool:
    """Whether the config says for all its data sets that label 0 is a class."""
    said = [dataset.get('reduce_zero_label') for part in PARTS for _, (dataset,) in loaded_datasets(cfg, part)]
    return set(said) == {False}


def _label_readers(node: Any) -> Iterator[dict]:
    """Yield pipeline steps, nested ones too, that have their own setting for label 0."""
    entries = node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ()
    for entry in entries:
        if isinstance(entry, dict) and entry.get('reduce_zero_label') is not None and 'type' in entry:
            yield entry
        yield from _label_readers(entry)
