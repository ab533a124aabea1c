"""Unlabelled images for pretraining."""

import os
import warnings
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmengine.registry import DATASETS
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from pretrain.images import find_images, read_image
from pretrain.views import ViewMaker


@DATASETS.register_module()
class UnlabelledImages(Dataset):
    """All images under one or several directories, cropped at random.

    A file that cannot be read is named in a warning, and the next one takes its place.

    Args:
        data_root: a directory, or several; searched at any depth for jpg, png, webp and tif.
        crop_size: side of the crops in pixels, or (height, width).
        crop_scale: least and greatest share of an image's area in a crop.
        crop: kind of crop, see `ViewMaker`, as the next.
        color_jitter: of these.
        token_size: side in pixels, or (height, width), of the second view of the crop for an image tokenizer:
            patches of the crop times the tokenizer's stride, 112 for 224 pixels in patches of 16.

    Raises:
        ValueError: a directory does not exist or holds no image, or a value is unknown or out of its range.
    """

    # mmengine hands it to the visualizer; there are no classes here.
    metainfo: dict = {}

    def __init__(
        self,
        data_root: str | Sequence[str],
        crop_size: int | tuple[int, int] = 224,
        crop_scale: tuple[float, float] = (0.2, 1.0),
        crop: str = 'random',
        color_jitter: float = 0.0,
        token_size: int | tuple[int, int] | None = None,
    ) -> None:
        # One array of bytes: a list of a million strings would be copied into every worker bit by bit, as reading
        # a Python object writes its reference count.
        self.paths = np.array([os.fsencode(path) for path in find_images(data_root)])
        token_pair = None if token_size is None else _pair(token_size)
        self.make_views = ViewMaker(_pair(crop_size), crop, tuple(crop_scale), color_jitter, token_pair)
        self._generator: torch.Generator | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Read one image and draw its views, RGB: ``inputs`` uint8 (3, height, width), and ``token_inputs``.

        Raises:
            ValueError: not a single file of the dataset can be read.
        """
        # (H, W, 3) -> (3, H, W), channels still last in memory
        image = torch.from_numpy(self._read_from(index)).permute(2, 0, 1)
        return self.make_views(image, self._randomness())

    def _read_from(self, index: int) -> np.ndarray:
        """Read the image at ``index``, or the next one that can be read."""
        for step in range(len(self)):
            path = os.fsdecode(self.paths[(index + step) % len(self)])
            try:
                return read_image(path)
            except ValueError as error:
                warnings.warn(f'{error}; the next image takes its place', stacklevel=2)
        raise ValueError(f'none of the {len(self)} images can be read, the first is {os.fsdecode(self.paths[0])}')

    def _randomness(self) -> torch.Generator | None:
        """Generator of this worker, None (PyTorch's own) in the main process.

        PyTorch draws a worker's seed anew each epoch. mmengine then seeds the worker's global generators with the
        same number every epoch, so these would repeat their crops.
        """
        worker = get_worker_info()
        if worker is not None and self._generator is None:
            cv2.setNumThreads(0)
            self._generator = torch.Generator().manual_seed(worker.seed)
        return self._generator


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
