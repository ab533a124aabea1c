"""The labels of an image, read from files: COCO annotations and results, ADE20K label images."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray
from pycocotools import mask as coco_mask

NO_CLASS = 255


@dataclass(frozen=True)
class Instance:
    """One object: name of its class, mask bool (H, W), and score, which is None for the truth."""

    name: str
    mask: ndarray
    score: float | None


class CocoScenes:
    """Annotations of a COCO file whose masks are run lengths.

    Args:
        annotation_file: ``instances_*.json``.
    """

    def __init__(self, annotation_file: Path) -> None:
        content = json.loads(annotation_file.read_text())
        self.files = {image['id']: image['file_name'] for image in content['images']}
        self.names = {category['id']: category['name'] for category in content['categories']}
        self._annotations = content['annotations']

    def truth(self, image_id: int) -> list[Instance]:
        """Annotated objects of an image."""
        return self._instances(self._annotations, image_id)

    def results(self, file: Path, image_id: int, count: int) -> list[Instance]:
        """The ``count`` objects of an image with the highest scores in mmdet's ``*.segm.json``, lowest score first."""
        rows = sorted(json.loads(file.read_text()), key=lambda row: row['score'])
        return self._instances(rows, image_id)[-count:]

    def _instances(self, rows: Iterable[dict], image_id: int) -> list[Instance]:
        return [
            Instance(
                self.names[row['category_id']],
                coco_mask.decode(row['segmentation']).astype(bool),
                row.get('score'),
            )
            for row in rows
            if row['image_id'] == image_id
        ]


def read_class_map(path: Path) -> ndarray:
    """Class index per pixel (H, W) of an ADE20K label image, or of a result of mmseg's IoUMetric.

    Both count classes from 1. The value 0, which means no class, becomes `NO_CLASS`.

    Raises:
        ValueError: there is no such image, or it has several channels.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2:
        raise ValueError(f'{path} is no image of one channel')
    return image - np.uint8(1)
