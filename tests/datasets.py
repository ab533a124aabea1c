"""Small data sets on disk, drawn the same each time: rectangles of three classes."""

import json
import struct
from pathlib import Path

import cv2
import numpy as np

# Ids with gaps, as COCO's.
CATEGORIES = [{'id': 3, 'name': 'red'}, {'id': 7, 'name': 'green'}, {'id': 18, 'name': 'blue'}]
CLASSES = [category['name'] for category in CATEGORIES]
HEIGHT, WIDTH = 48, 64


def draw(index: int) -> tuple[np.ndarray, np.ndarray, list[tuple[int, list[int]]]]:
    """Image (H, W, 3), labels (H, W) with 0 for background, and (class index, box x y w h) of each rectangle."""
    rng = np.random.default_rng(index)
    image = rng.integers(90, 130, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    boxes = []
    for kind in range(3):
        # Each in its own third of the width, so that none hides another.
        x, y = int(rng.integers(1 + 20 * kind, 4 + 20 * kind)), int(rng.integers(2, 20))
        w, h = int(rng.integers(10, 16)), int(rng.integers(12, 24))
        image[y : y + h, x : x + w] = 0
        image[y : y + h, x : x + w, 2 - kind] = 230
        labels[y : y + h, x : x + w] = kind + 1
        boxes.append((kind, [x, y, w, h]))
    return image, labels, boxes


def coco_content(indices: range, categories: list[dict] = CATEGORIES) -> dict:
    """Annotations of the drawn images; every rectangle keeps the id that CATEGORIES gives its class."""
    images, annotations = [], []
    for index in indices:
        images.append(dict(id=index + 1, file_name=f'{index:03}.jpg', height=HEIGHT, width=WIDTH))
        for kind, (x, y, w, h) in draw(index)[2]:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=index + 1,
                    category_id=CATEGORIES[kind]['id'],
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                    segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
                )
            )
    return dict(images=images, annotations=annotations, categories=categories)


def write_images(folder: Path, indices: range, suffix: str = '.jpg') -> None:
    """Write the drawn images."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in indices:
        cv2.imwrite(str(folder / f'{index:03}{suffix}'), draw(index)[0])


def make_coco(
    root: Path,
    images: str = 'images/{}',
    annotations: str = 'annotations/instances_{}.json',
    splits: tuple[str, str] = ('train', 'val'),
    sizes: tuple[int, int] = (4, 2),
) -> Path:
    """Write a data set in COCO format; the patterns are filled with the names of the splits."""
    ranges = range(sizes[0]), range(sizes[0], sum(sizes))
    for split, indices in zip(splits, ranges, strict=True):
        write_images(root / images.format(split), indices)
        file = root / annotations.format(split)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(coco_content(indices)))
    return root


def make_ade(root: Path, suffix: str = '.jpg', sizes: tuple[int, int] = (4, 2)) -> Path:
    """Write a data set in ADE20K format, with ``classes.txt``."""
    ranges = range(sizes[0]), range(sizes[0], sum(sizes))
    for split, indices in zip(('training', 'validation'), ranges, strict=True):
        write_images(root / 'images' / split, indices, suffix)
        masks = root / 'annotations' / split
        masks.mkdir(parents=True)
        for index in indices:
            cv2.imwrite(str(masks / f'{index:03}.png'), draw(index)[1])
    (root / 'classes.txt').write_text('\n'.join(CLASSES) + '\n')
    return root


def make_folders(root: Path, splits: tuple[str, str] = ('train', 'val'), sizes: tuple[int, int] = (4, 2)) -> Path:
    """Write a data set with one folder per class: the drawn rectangles of each class, cut out with their background."""
    ranges = range(sizes[0]), range(sizes[0], sum(sizes))
    for split, indices in zip(splits, ranges, strict=True):
        for index in indices:
            image, _, boxes = draw(index)
            for kind, (x, y, w, h) in boxes:
                folder = root / split / CLASSES[kind]
                folder.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / f'{index:03}.png'), image[y - 1 : y + h + 1, x - 1 : x + w + 1])
    return root


def write_bands(path: Path, height: int, width: int, bands: int) -> None:
    """Write a black uncompressed TIFF of several bands of 8 bits, which Pillow and OpenCV cannot write."""
    size = height * width * bands
    tags = {256: width, 257: height, 258: (8,) * bands, 259: 1, 262: 1, 273: 8, 277: bands, 278: height, 279: size}
    tags |= {284: 1, 338: (0,) * (bands - 1)}
    entries, extra = b'', b''
    for tag, value in sorted(tags.items()):
        values = value if isinstance(value, tuple) else (value,)
        raw = struct.pack(f'<{len(values)}H', *values)
        if len(raw) > 4:  # it lies behind the directory
            place, extra = 8 + size + 2 + 12 * len(tags) + 4 + len(extra), extra + raw
            raw = struct.pack('<I', place)
        entries += struct.pack('<HHI', tag, 3, len(values)) + raw.ljust(4, b'\0')
    directory = struct.pack('<H', len(tags)) + entries + bytes(4) + extra
    path.write_bytes(b'II*\0' + struct.pack('<I', 8 + size) + bytes(size) + directory)
