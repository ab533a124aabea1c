"""Scenes on disk: the COCO layout, the ADE20K layout and a plain folder of images."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy import ndarray
from pycocotools import mask as coco_mask

from downstream.shapes.scene import ALL_NAMES, THING_NAMES, Scene, draw_scene

ADE_SPLITS = {'train': 'training', 'val': 'validation'}
# Every scene has its own generator, so that adding images does not change the first ones.
STREAMS = {'train': 0, 'val': 1, 'unlabelled': 2}


def scenes(split: str, count: int, size: int, seed: int) -> Iterator[tuple[str, Scene]]:
    """Draw the scenes of a split one by one, each with its name."""
    for index in range(count):
        yield f'scene_{index:05d}', draw_scene(size, np.random.default_rng([seed, STREAMS[split], index]))


def write_unlabelled(root: Path, count: int, size: int, seed: int) -> None:
    """Write ``count`` images into ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    for name, scene in scenes('unlabelled', count, size, seed):
        write_image(root / f'{name}.jpg', scene.image)


def write_labelled(root: Path, split: str, count: int, size: int, seed: int) -> None:
    """Write one split (train or val) with the same scenes in both layouts: ``root``/coco and ``root``/ade."""
    coco, ade = root / 'coco', root / 'ade'
    ade_images, ade_labels = ade / 'images' / ADE_SPLITS[split], ade / 'annotations' / ADE_SPLITS[split]
    for folder in (coco / 'images' / split, coco / 'annotations', ade_images, ade_labels):
        folder.mkdir(parents=True, exist_ok=True)

    content: dict[str, list[dict]] = {'images': [], 'annotations': [], 'categories': categories()}
    for image_id, (name, scene) in enumerate(scenes(split, count, size, seed), start=1):
        for path in (coco / 'images' / split / f'{name}.jpg', ade_images / f'{name}.jpg'):
            write_image(path, scene.image)
        # In ADE20K 0 means "no class", and classes count from 1.
        write_image(ade_labels / f'{name}.png', scene.kinds + 1)
        content['images'].append({'id': image_id, 'file_name': f'{name}.jpg', 'height': size, 'width': size})
        for annotation in coco_annotations(scene):
            number = len(content['annotations']) + 1
            content['annotations'].append({'id': number, 'image_id': image_id, **annotation})

    (coco / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))
    (ade / 'classes.txt').write_text('\n'.join(ALL_NAMES) + '\n')


def categories() -> list[dict]:
    """COCO's list of classes, which are the things, with ids from 1."""
    return [{'id': index, 'name': name} for index, name in enumerate(THING_NAMES, start=1)]


def coco_annotations(scene: Scene) -> Iterator[dict[str, Any]]:
    """Annotations of the visible part of each thing; masks are run lengths, because outlines may have holes."""
    for owner, (kind, _) in enumerate(scene.things):
        visible = scene.owners == owner
        encoded = coco_mask.encode(np.asfortranarray(visible, dtype=np.uint8))
        yield {
            'category_id': kind + 1,
            'segmentation': {'size': encoded['size'], 'counts': encoded['counts'].decode('ascii')},
            'area': int(visible.sum()),
            'bbox': [float(value) for value in coco_mask.toBbox(encoded)],
            'iscrowd': 0,
        }


def write_image(path: Path, image: ndarray) -> None:
    """Write an image, and raise an error if that fails.

    Raises:
        OSError: the file could not be written.
    """
    if not cv2.imwrite(str(path), image):
        raise OSError(f'cannot write {path}')
