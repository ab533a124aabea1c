"""Directory layouts of labelled images: ADE20K's beside COCO's (`coco_layout`), with the variants met in practice."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from backbones.coco_layout import COCO_LAYOUTS, coco_files

ADE_LAYOUTS = """\
  ADE20K:   images/{training,validation}/, annotations/{training,validation}/*.png, classes.txt (line n names label n,
            label 0 is ignored); ADE20K itself may lie in ADEChallengeData2016/ and needs no classes.txt"""
FOLDER_LAYOUTS = """\
  classes:  train/CLASS/ and val/CLASS/ (or valid/, validation/), images at any depth below CLASS"""

ADE_SPLITS = {'train': 'training', 'val': 'validation'}
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.tif', '.tiff', '.webp', '.bmp')
# Masks read to check the labels against the class list.
MASKS_CHECKED = 20


@dataclass(frozen=True)
class AdePart:
    """One part of a data set in ADE20K format; label n of a mask is ``classes[n - 1]``, 0 is ignored."""

    images: Path
    masks: Path
    image_suffix: str
    classes: tuple[str, ...]
    source: Path


def known_layouts(kind: str) -> str:
    """The layouts of a kind ('coco', 'ade' or 'folders'), for people."""
    return 'Known layouts:\n' + {'coco': COCO_LAYOUTS, 'ade': ADE_LAYOUTS, 'folders': FOLDER_LAYOUTS}[kind]


def ade_folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Folders of images and masks of each part ('train', 'val') that lies in an ADE20K layout."""
    found = {}
    for part, split in ADE_SPLITS.items():
        for home in (root / 'ADEChallengeData2016', root):
            images, masks = home / 'images' / split, home / 'annotations' / split
            if images.is_dir() and masks.is_dir():
                found[part] = (images, masks)
    return found


def find_ade(root: Path) -> dict[str, AdePart]:
    """Find the parts ('train', 'val') of a data set in ADE20K format; empty where ``root`` has no such layout.

    Raises:
        ValueError: there is no class list, images and masks are no pairs, or masks hold labels beyond the list.
    """
    found = {}
    for part, (images, masks) in ade_folders(root).items():
        source, classes = read_classes(images.parent.parent)
        suffix = _check_pairs(images, masks)
        _check_labels(masks, source, len(classes))
        found[part] = AdePart(images, masks, suffix, classes, source)
    return found


def training_images(root: Path) -> Path:
    """Directory to pretrain on: that of the training images where ``root`` has a labelled layout, else ``root``.

    Validation images must stay unseen until the evaluation.

    Raises:
        ValueError: the labelled layout has no training part.
    """
    folders = {part: folders[0] for part, (_, folders) in coco_files(root).items()}
    folders.update({part: images for part, (images, _) in ade_folders(root).items()})
    if folders and 'train' not in folders:
        raise ValueError(f'{root} holds only validation images ({folders["val"]}): these are not for pretraining')
    return folders.get('train', root)


def read_classes(home: Path) -> tuple[Path, tuple[str, ...]]:
    """Read class names: ``classes.txt``, one a line, or ADE20K's own ``objectInfo150.txt``.

    Raises:
        ValueError: neither is there, or the names are not unique.
    """
    own, ade = home / 'classes.txt', home / 'objectInfo150.txt'
    if own.is_file():
        source, names = own, [line.strip() for line in own.read_text(encoding='utf-8').splitlines() if line.strip()]
    elif ade.is_file():
        # Columns Idx, Ratio, Train, Val, Name, tab-separated under a heading.
        source, names = ade, [line.split('\t')[-1].strip() for line in ade.read_text().splitlines()[1:]]
    else:
        raise ValueError(f'{own} is missing: it names the classes, line n that of label n. {known_layouts("ade")}')
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        raise ValueError(f'{source}: ' + (f'{twice[0]!r} occurs twice' if twice else 'no class is listed'))
    return source, tuple(names)


def _check_pairs(images: Path, masks: Path) -> str:
    """Compare images and masks by name; return the images' suffix."""
    files = [path for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    suffixes = sorted({path.suffix for path in files})
    if len(suffixes) != 1:
        raise ValueError(f'{images} holds images ending in {suffixes or "nothing known"}: mmseg takes one suffix')
    stems = {path.stem for path in masks.glob('*.png')}
    without = sorted(path.name for path in files if path.stem not in stems)
    if without:
        raise ValueError(f'{len(without)} of {len(files)} images in {images} have no mask in {masks}: {without[0]}')
    return suffixes[0]


def _check_labels(masks: Path, source: Path, count: int) -> None:
    """Read some masks, evenly spread, and refuse labels that no class has; mmseg ignores 255 as well as 0."""
    files = sorted(masks.glob('*.png'))
    for path in files[:: max(1, len(files) // MASKS_CHECKED)]:
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if mask is None or mask.ndim != 2:
            raise ValueError(f'{path} is no mask: one channel of labels is needed')
        label = max((int(value) for value in np.unique(mask) if value != 255), default=0)
        if label > count:
            raise ValueError(
                f'{path} holds label {label}, but {source} names {count} classes: labels are 1 to {count}, '
                '0 and 255 are ignored'
            )
