"""Directory layouts of images with label maps: ADE20K's and its variants in practice."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.data.label_maps.check import check_labels
from backbones.data.label_maps.pairs import Pairs, find_pairs
from backbones.data.label_maps.read import count_labels
from backbones.data.layouts import known_layouts

SPLITS = {'train': ('training', 'train'), 'val': ('validation', 'val', 'valid')}
IMAGES = ('images', 'image', 'imgs', 'img_dir')
MASKS = ('annotations', 'masks', 'labels', 'ann_dir', 'annotation', 'mask')


@dataclass(frozen=True)
class AdePart:
    """One part of a data set with label maps.

    Attributes:
        images: directory of the images.
        masks: directory of the label maps.
        pairs: the files.
        classes: label n of a mask is ``classes[n - first_label]``; 255 and labels below ``first_label`` are ignored.
        source: the file that lists the classes.
        first_label: 0 or 1.
        notes: what is odd in the data set, one line each.
    """

    images: Path
    masks: Path
    pairs: Pairs
    classes: tuple[str, ...]
    source: Path
    first_label: int
    notes: tuple[str, ...]


def ade_folders(root: Path) -> dict[str, tuple[Path, Path, Path]]:
    """Home, images and masks of each part ('train', 'val') in a known layout; upper and lower case are the same."""
    found = {}
    for home in (root, *_children(root, ['ADEChallengeData2016'])):
        for part, splits in SPLITS.items():
            images, masks = _places(home, IMAGES, splits), _places(home, MASKS, splits)
            if part not in found and images and masks:
                found[part] = (home, images[0], next((folder for folder in masks if _holds_files(folder)), masks[0]))
    return found


def find_ade(root: Path, zero_is_class: bool | None = None) -> dict[str, AdePart]:
    """Find the parts ('train', 'val') of a data set with label maps; empty if ``root`` has no such layout.

    Args:
        root: the directory.
        zero_is_class: whether label 0 is the first class; with None, 0 is ignored, and masks are refused in which it
            looks like a class.

    Raises:
        ValueError: there is no class list, images and masks do not pair up, or the labels are not those listed.
    """
    folders = ade_folders(root)
    lists = {part: read_classes(home) for part, (home, _, _) in folders.items()}
    pairs = {part: find_pairs(images, masks) for part, (_, images, masks) in folders.items()}
    counts = {part: count_labels(each.masks) for part, each in pairs.items()}
    notes: tuple[str, ...] = tuple(line for each in pairs.values() for line in each.notes)
    for source, classes in set(lists.values()):
        mine = [counts[part] for part, each in lists.items() if each == (source, classes)]
        notes += tuple(check_labels(mine, classes, source, bool(zero_is_class), zero_is_class is not None))
    return {
        part: AdePart(images, masks, pairs[part], *lists[part][::-1], 0 if zero_is_class else 1, notes)
        for part, (_, images, masks) in folders.items()
    }


def read_classes(home: Path) -> tuple[Path, tuple[str, ...]]:
    """Read class names from ``classes.txt``, one per line, or from ADE20K's own ``objectInfo150.txt``.

    Raises:
        ValueError: neither file exists, it is not UTF-8 text, or the names are not unique.
    """
    own, ade = home / 'classes.txt', home / 'objectInfo150.txt'
    source = own if own.is_file() else ade
    if not source.is_file():
        raise ValueError(f'{own} is missing: it names the classes, line n that of label n. {known_layouts("ade")}')
    try:
        # Windows editors put a byte order mark first.
        lines = source.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'{source} is no UTF-8 text ({error}): save it as UTF-8') from error
    # ADE20K's file has tab-separated columns Idx, Ratio, Train, Val, Name under a heading.
    names = '\n'.join(line.strip() for line in lines).rstrip('\n').split('\n')
    names = names if source == own else [line.split('\t')[-1].strip() for line in names[1:]]
    if '' in names and names != ['']:
        blank = names.index('') + 1
        raise ValueError(f'{source}: line {blank} is blank, and line n names label n: name it, or take the line out')
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or names == ['']:
        raise ValueError(f'{source}: ' + (f'{twice[0]!r} occurs twice' if twice else 'no class is listed'))
    return source, tuple(names)


def _places(home: Path, kinds: Sequence[str], splits: Sequence[str]) -> list[Path]:
    """Directories such as ``images/train`` and ``train/images``."""
    below = [place for kind in _children(home, kinds) for place in _children(kind, splits)]
    return below + [place for split in _children(home, splits) for place in _children(split, kinds)]


def _children(folder: Path, names: Sequence[str]) -> list[Path]:
    """Subdirectories with one of some names, in the order of the names; upper and lower case are the same."""
    there = {entry.name.lower(): entry.name for entry in os.scandir(folder) if entry.is_dir()}
    return [folder / there[name.lower()] for name in names if name.lower() in there]


def _holds_files(folder: Path) -> bool:
    return any(files for _, _, files in os.walk(folder, followlinks=True))
