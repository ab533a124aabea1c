"""Labelled images for fine-tuning, probes and k-NN: one folder per class."""

import os
from pathlib import Path

import numpy as np
from mmengine.registry import DATASETS, TRANSFORMS
from torch import Tensor
from torch.utils.data import Dataset

from backbones.data.folders import class_folders, find_folders
from pretrain.data.class_transforms import EvalTransform, TrainTransform
from pretrain.data.images import find_images
from pretrain.data.reading import path_array, read_next, read_tensor


@DATASETS.register_module()
class LabelledImages(Dataset):
    """All images of a directory with one folder per class; classes are numbered in the order of their names.

    A file that cannot be read is named in a warning. The next one, with its own label, takes its place.

    Args:
        data_root: the directory; images may lie at any depth below the folder of their class.
        transform: `TrainTransform`, `EvalTransform` or a config of one.

    Raises:
        ValueError: the directory, or a class in it, is not as required.

    Attributes:
        metainfo: ``classes``, the names of the classes.
        labels: int64 (images,).
    """

    def __init__(self, data_root: str, transform: dict | TrainTransform | EvalTransform) -> None:
        classes = class_folders(data_root)
        files = [find_images(os.path.join(data_root, name)) for name in classes]
        self.metainfo: dict = dict(classes=classes)
        self.paths = path_array(path for folder in files for path in folder)
        self.labels = np.repeat(np.arange(len(classes)), [len(folder) for folder in files])
        self.transform = TRANSFORMS.build(transform) if isinstance(transform, dict) else transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Tensor | int]:
        """Read and transform one image: ``inputs`` uint8 (3, h, w), RGB, and ``data_samples``, its label.

        mmengine's ``default_collate`` makes batches: uint8 (B, 3, h, w) and int64 (B,).

        Raises:
            ValueError: no file of the data set can be read.
        """
        image, place = read_next(self.paths, index, read_tensor)
        return {'inputs': self.transform(image), 'data_samples': int(self.labels[place])}


def labelled_parts(root: str | Path) -> tuple[str, str]:
    """Directories of the training and the validation part of a data set, which must have the same classes.

    Args:
        root: holds ``train/CLASS`` and ``val/CLASS``, or other common names of the parts.

    Raises:
        ValueError: a part is missing, or the parts have different classes; see also `class_folders`.
    """
    place = Path(root)
    if not place.is_dir():
        raise ValueError(f'no directory {str(place)!r} with images: point to one with `--data-root DIR`')
    parts = find_folders(place)
    absent = [part for part in ('train', 'val') if part not in parts]
    if absent:
        raise ValueError(f'{place} has no {" and no ".join(absent)} directory with a folder per class')
    odd = sorted(set(parts['train'].classes) ^ set(parts['val'].classes))
    if odd:
        raise ValueError(
            f'{place}: train and val are of different classes, only one has {", ".join(odd[:5])} ({len(odd)} in all)'
        )
    return str(parts['train'].images), str(parts['val'].images)
