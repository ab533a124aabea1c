"""Objects cut out of a detection or segmentation data set, as a small labelled set to evaluate features on."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import cv2
import numpy as np

from backbones.data.coco.layout import CocoPart, find_coco
from backbones.data.label_maps.layout import AdePart, find_ade
from backbones.data.label_maps.read import IGNORED, read_labels
from backbones.data.layouts import known_layouts
from pretrain.data.images import read_image

PARTS = ('train', 'val')


@dataclass(frozen=True)
class Box:
    """An object: its image, its class, and its box (left, top, width, height) in pixels."""

    image: Path
    label: str
    place: tuple[int, int, int, int]


@dataclass(frozen=True)
class Selection:
    """Which objects to cut out, and how.

    Attributes:
        min_size: least width and height of a box in pixels.
        margin: share of the box added on each side.
        min_count: classes with fewer objects than this, in training or validation, are left out.
        max_count: number of objects taken per class and part, spread over the images; 0 takes all.
        classes: the classes to take; empty takes all.

    Raises:
        ValueError: a number is negative.
    """

    min_size: int = 24
    margin: float = 0.1
    min_count: int = 5
    max_count: int = 0
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ('min_size', 'margin', 'min_count', 'max_count'):
            if not getattr(self, name) >= 0:
                raise ValueError(f'{name}={getattr(self, name)} is below 0')


def find_boxes(root: Path, zero_is_class: bool | None = None) -> dict[str, list[Box]]:
    """List the objects of a data set in COCO or ADE20K layout, per part ('train', 'val').

    In segmentation masks, each connected piece of a class is an object.

    Args:
        root: the directory.
        zero_is_class: how to read masks, see `find_ade`.

    Raises:
        ValueError: the directory has neither layout, lacks a part, or holds annotations that cannot be used.
    """
    if not root.is_dir():
        raise ValueError(f'{root}: there is no such directory')
    coco = find_coco(root)
    if coco and zero_is_class is not None:
        raise ValueError(f'{root} holds boxes in COCO format: --zero-is-class tells how to read masks, leave it out')
    ade = {} if coco else find_ade(root, zero_is_class)
    missing = [part for part in PARTS if part not in (coco or ade)]
    if missing:
        layouts = f'{known_layouts("coco")}\n{known_layouts("ade")}'
        raise ValueError(f'{root} has no {" and no ".join(missing)} part with labels. {layouts}')
    if coco:
        return {part: list(coco_boxes(coco[part])) for part in PARTS}
    return {part: list(mask_boxes(ade[part])) for part in PARTS}


def coco_boxes(part: CocoPart) -> Iterator[Box]:
    """List the boxes of a corrected COCO annotation file, except crowds."""
    names = {category['id']: category['name'] for category in part.content['categories']}
    files = {image['id']: part.images / image['file_name'] for image in part.content['images']}
    for entry in part.content['annotations']:
        if not entry['iscrowd']:
            left, top, width, height = (round(value) for value in entry['bbox'])
            yield Box(files[entry['image_id']], names[entry['category_id']], (left, top, width, height))


def mask_boxes(part: AdePart) -> Iterator[Box]:
    """List the boxes of the connected pieces (8 neighbours) of each class in each mask."""
    for image, mask_file in zip(part.pairs.images, part.pairs.masks, strict=True):
        mask = read_labels(mask_file)
        for label in sorted(set(np.unique(mask).tolist()) - {IGNORED, *range(part.first_label)}):
            _, _, statistics, _ = cv2.connectedComponentsWithStats((mask == label).astype(np.uint8), connectivity=8)
            # Row 0 is the background.
            for left, top, width, height, _ in statistics[1:].tolist():
                yield Box(image, part.classes[label - part.first_label], (left, top, width, height))


def select(boxes: dict[str, list[Box]], selection: Selection) -> dict[str, list[Box]]:
    """Choose objects that are large enough, from classes that are frequent enough in both parts.

    Raises:
        ValueError: a requested class does not exist, or fewer than two classes are left.
    """
    known = {box.label for part in boxes.values() for box in part}
    absent = [name for name in selection.classes if name not in known]
    if absent:
        raise ValueError(f'no object of class {", ".join(absent)}; there are {", ".join(sorted(known))}')
    large = {part: _large(each, selection.min_size) for part, each in boxes.items()}
    kept = _frequent(large, set(selection.classes) or known, selection.min_count)
    if len(kept) < 2:
        raise ValueError(
            f'{len(kept)} classes have {selection.min_count} objects of {selection.min_size} pixels or more in both '
            'parts, and it takes two: lower min_count or min_size'
        )
    return {part: list(_limit(each, kept, selection.max_count)) for part, each in large.items()}


def _large(boxes: Iterable[Box], min_size: int) -> list[Box]:
    """Keep the boxes of at least ``min_size`` pixels in width and height."""
    return [box for box in boxes if min(box.place[2:]) >= min_size]


def _frequent(boxes: dict[str, list[Box]], wanted: set[str], min_count: int) -> set[str]:
    """Keep the wanted classes that have at least ``min_count`` boxes in every part."""
    counts = [Counter(box.label for box in each) for each in boxes.values()]
    return {name for name in wanted if all(count[name] >= min_count for count in counts)}


def _limit(boxes: Iterable[Box], kept: set[str], max_count: int) -> Iterator[Box]:
    """Take ``max_count`` boxes of each kept class, evenly spaced in the list; 0 takes all."""
    by_label = defaultdict(list)
    for box in boxes:
        if box.label in kept:
            by_label[box.label].append(box)
    for each in by_label.values():
        count = min(max_count or len(each), len(each))
        yield from (each[index * len(each) // count] for index in range(count))


def write_crops(boxes: dict[str, list[Box]], out: Path, margin: float) -> dict[str, Counter]:
    """Cut objects out and write them as ``out/PART/CLASS/NUMBER.jpg``; returns how many per part and class.

    Raises:
        FileExistsError: ``out`` is not empty, so the crops of two selections would mix.
        ValueError: an image cannot be read, or a box lies outside of it.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f'{out} is not empty: choose another directory or delete it')
    folders = folder_names({box.label for each in boxes.values() for box in each})
    counts: dict[str, Counter] = {part: Counter() for part in boxes}
    for part, each in boxes.items():
        for path, in_image in groupby(sorted(each, key=attrgetter('image')), key=attrgetter('image')):
            image = read_image(path)
            for box in in_image:
                crop = cut(image, box.place, margin)
                if not crop.size:
                    size = f'{image.shape[0]} x {image.shape[1]}'
                    raise ValueError(f'{path}: box {box.place} lies outside the image of {size} pixels')
                folder = out / part / folders[box.label]
                folder.mkdir(parents=True, exist_ok=True)
                _write_jpeg(folder / f'{counts[part][box.label]:05d}.jpg', crop)
                counts[part][box.label] += 1
    return counts


def folder_names(labels: Iterable[str]) -> dict[str, str]:
    """Name a folder for each class, distinct on any file system: 'a_b' keeps its name, and 'a/b' becomes 'a_b_2'."""
    names: dict[str, str] = {}
    for label in sorted(labels, key=lambda label: (safe_name(label) != label, label)):
        name = base = safe_name(label)
        taken = {other.lower() for other in names.values()}
        number = 2
        while name.lower() in taken:
            name, number = f'{base}_{number}', number + 1
        names[label] = name
    return names


def safe_name(label: str) -> str:
    """Make a class's name valid as a folder's name, which is neither hidden nor points to a folder above."""
    return re.sub(r'[\x00-\x1f\\/:*?"<>|]', '_', label).strip('. ') or '_'


def _write_jpeg(file: Path, crop: np.ndarray) -> None:
    done, data = cv2.imencode('.jpg', cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not done:
        raise ValueError(f'{file} cannot be written: a crop of {crop.shape[0]} x {crop.shape[1]} pixels')
    file.write_bytes(data.tobytes())


def cut(image: np.ndarray, place: tuple[int, int, int, int], margin: float) -> np.ndarray:
    """Cut out a box (left, top, width, height) with a margin on each side, clipped to the image (H, W, 3)."""
    left, top, width, height = place
    x, y = round(width * margin), round(height * margin)
    return image[max(0, top - y) : top + height + y, max(0, left - x) : left + width + x]
