"""Unlabelled images for pretraining."""

from collections.abc import Sequence
from functools import partial

import torch
from mmengine.registry import DATASETS, FUNCTIONS
from torch import Tensor
from torch.utils.data import Dataset

from pretrain.data.images import find_training_images
from pretrain.data.reading import path_array, read_next, read_tensor
from pretrain.data.transforms import pair
from pretrain.data.views import ViewMaker


@DATASETS.register_module()
class UnlabelledImages(Dataset):
    """All images under one or several directories, cropped at random.

    A file that cannot be read is named in a warning, and the next one takes its place.

    Args:
        data_root: a directory, or several; searched at any depth, see `find_training_images`.
        crop_size: side of the crops in pixels, or (height, width).
        crop_scale: least and greatest share of an image's area in a crop.
        crop: kind of crop, see `ViewMaker`.
        color_jitter: see `ViewMaker`.
        repeats: number of views of each decoded image, each with its own crop and mask, so that an image is decoded
            only once for all of them. They lie on a separate axis, which ``collate_fn=dict(type='flatten_repeats')``
            joins with the batch axis. A step then sees ``batch_size * repeats`` views, and tools/train.py counts them
            in a scaled lr.
        token_size: side in pixels, or (height, width), of the second view of the crop for an image tokenizer:
            patches of the crop times the tokenizer's stride, 112 for 224 pixels in patches of 16.
        value_range: values of 16-bit images that become black and white, such as (0, 4095) for a 12-bit camera; None
            takes (0, 65535).

    Raises:
        ValueError: a directory does not exist or holds no image, or a value is unknown or out of its range.
    """

    # mmengine passes this to the visualizer; there are no classes here.
    metainfo: dict = {}

    def __init__(
        self,
        data_root: str | Sequence[str],
        crop_size: int | tuple[int, int] = 224,
        crop_scale: tuple[float, float] = (0.2, 1.0),
        crop: str = 'random',
        color_jitter: float = 0.0,
        token_size: int | tuple[int, int] | None = None,
        repeats: int = 1,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        if repeats < 1:
            raise ValueError(f'repeats={repeats} is below 1')
        self.repeats = repeats
        self.paths = path_array(find_training_images(data_root))
        token_pair = None if token_size is None else pair(token_size)
        self.make_views = ViewMaker(pair(crop_size), crop, crop_scale, color_jitter, token_pair, value_range)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Read one image and draw its views, RGB: ``inputs`` uint8 (3, height, width), and ``token_inputs``.

        With ``repeats`` R above 1, (R, 3, height, width).

        Raises:
            ValueError: no file of the dataset can be read.
        """
        if self.repeats == 1:
            views, _ = read_next(self.paths, index, self.make_views.from_file)
            return views
        value_range = self.make_views.value_range
        read = read_tensor if value_range is None else partial(read_tensor, value_range=value_range)
        image, _ = read_next(self.paths, index, read)
        return torch.utils.data.default_collate([self.make_views(image) for _ in range(self.repeats)])


@FUNCTIONS.register_module()
def flatten_repeats(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Collate samples of R views each into (B * R, 3, H, W), with the views of an image next to each other."""
    return {name: value.flatten(0, 1) for name, value in torch.utils.data.default_collate(samples).items()}
