"""Transforms of labelled images, for fine-tuning as in MAE and BEiT, and for evaluation.

Letters: C channels, H, W size of the image, h, w wanted.
"""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torch import Tensor

from pretrain.data.reading import seeded_libraries
from pretrain.data.transforms import augment, pair, resize

# ImageNet's mean colour, which fills the areas that RandAugment leaves empty.
MEAN = (124, 116, 104)
# At magnitude 10, timm's posterize keeps 0 bits, which new Pillow refuses. One draw of m9-mstd0.5 in 44 reaches it.
MAX_MAGNITUDE = 9.99
RANDAUGMENT = 'rand-m9-mstd0.5-inc1'


@TRANSFORMS.register_module()
class TrainTransform:
    """Random resized crop, random flip, and timm's RandAugment (arXiv 1909.13719).

    Args:
        size: side of the crops in pixels, or (height, width).
        crop_scale: least and greatest share of an image's area in a crop.
        rand_augment: the policy in timm's notation; None for no policy.
    """

    def __init__(
        self,
        size: int | Sequence[int] = 224,
        crop_scale: tuple[float, float] = (0.08, 1.0),
        rand_augment: str | None = RANDAUGMENT,
    ) -> None:
        self.size = pair(size)
        self.crop_scale = crop_scale
        options = dict(
            translate_const=int(min(self.size) * 0.45),
            img_mean=MEAN,
            interpolation=Image.Resampling.BICUBIC,
            magnitude_max=MAX_MAGNITUDE,
        )
        self.policy = rand_augment_transform(rand_augment, options) if rand_augment else None

    def __call__(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Map uint8 (3, H, W) to uint8 (3, h, w); ``generator`` None takes PyTorch's own."""
        crop = augment(image, self.size, self.crop_scale, generator)
        if self.policy is None:
            return crop
        # (3, h, w) -> (h, w, 3) and back
        pixels = Image.fromarray(np.ascontiguousarray(crop.permute(1, 2, 0).numpy()))
        with seeded_libraries(generator):
            pixels = self.policy(pixels)
        return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)


@TRANSFORMS.register_module()
class EvalTransform:
    """Resize the image, then take a crop from the middle that covers a fixed share of it; nothing is random.

    Args:
        size: side of the crops in pixels, or (height, width).
        crop_pct: share of the resized image's shorter side that the crop covers. None takes MAE's: 224 / 256 for sizes
            up to 224 pixels, and 1 above.
    """

    def __init__(self, size: int | Sequence[int] = 224, crop_pct: float | None = None) -> None:
        self.size = pair(size)
        share = (224 / 256 if max(self.size) <= 224 else 1.0) if crop_pct is None else crop_pct
        if not 0 < share <= 1:
            raise ValueError(f'crop_pct={crop_pct} is outside (0, 1]')
        self.covered = int(self.size[0] / share), int(self.size[1] / share)

    def __call__(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Map uint8 (C, H, W) to uint8 (C, h, w); ``generator`` is not used."""
        height, width = image.shape[1:]
        # The tighter side gets its exact length, and the other side is rounded down, as in torchvision.
        if height * self.covered[1] <= width * self.covered[0]:
            enlarged = self.covered[0], int(self.covered[0] * width / height)
        else:
            enlarged = int(self.covered[1] * height / width), self.covered[1]
        resized = resize(image, enlarged)
        top, left = (round((there - wanted) / 2) for there, wanted in zip(enlarged, self.size, strict=True))
        return resized[:, top : top + self.size[0], left : left + self.size[1]].contiguous()
