"""The views of an image that pretraining uses: how a crop is drawn, and how it becomes a view.

Letters: H, W size of the image, h, w size of a crop.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torchvision.transforms.v2.functional as vision
from PIL import Image
from torch import Tensor

from backbones.data.images.listing import shown
from backbones.data.images.read import MOST_PIXELS, REDUCED, Range, decode, decode_reduced, read_bytes
from pretrain.data.images import jpeg_size
from pretrain.data.transforms import draw_crop, resize

CROPS = ('random', 'fixed', 'centre')
# Side of a crop of fixed size over the image's shorter side: 224 of 256, as in evaluation on ImageNet.
FIXED_SHARE = 224 / 256
# A crop is decoded at reduced scale if it stays at least this many times as large as the views. Compared with full
# decoding, photographs then differ by 0.9 of 255 on average for factors from 1.6 on, and by 2.4 for a factor of 1.
LEAST_SHRINK = 2

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Choice:
    """The random choices for a view.

    Attributes:
        box: the crop (top, left, h, w).
        mirrored: whether left and right are swapped.
        factors: factors of brightness, contrast and saturation; None leaves colours unchanged.
    """

    box: Box
    mirrored: bool
    factors: tuple[float, ...] | None


@dataclass(frozen=True)
class ViewMaker:
    """Draws a view of an image, and a second one of the same crop for an image tokenizer.

    The kinds of crop are those that MAE compares (arXiv 2111.06377, table 1e). 'random' has a random size and place, is
    mirrored half of the time, and is the paper's own. 'fixed' has a fixed size at a random place and is mirrored too.
    'centre' is always the same.

    Attributes:
        size: (height, width) of the view.
        crop: a member of `CROPS`.
        crop_scale: least and greatest share of the area of a 'random' crop.
        color_jitter: strength of changes in brightness, contrast and saturation, in [0, 1]; BEiT takes 0.4.
        token_size: (height, width) of the second view, resized by Lanczos as for DALL-E's tokenizer; None for none.
        value_range: values of 16-bit images that become 0 and 255; None takes 0 and 65535.

    Raises:
        ValueError: a value is unknown or out of its range.
    """

    size: tuple[int, int]
    crop: str = 'random'
    crop_scale: tuple[float, float] = (0.2, 1.0)
    color_jitter: float = 0.0
    token_size: tuple[int, int] | None = None
    value_range: Range | None = None

    def __post_init__(self) -> None:
        if self.crop not in CROPS:
            raise ValueError(f'crop={self.crop!r} is unknown: use one of {", ".join(CROPS)}')
        if not 0 <= self.color_jitter <= 1:
            raise ValueError(f'color_jitter={self.color_jitter} is outside 0..1')

    def __call__(self, image: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Draw the views of an image.

        Args:
            image: uint8 (C, H, W).
            generator: source of randomness; None takes PyTorch's own.

        Returns:
            ``inputs`` uint8 (C, *size); with ``token_size`` also ``token_inputs`` uint8 (C, *token_size).
        """
        return self.render(image, self.draw((image.shape[1], image.shape[2]), generator))

    def from_file(self, path: str, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Draw the views of an image file; see `from_bytes`."""
        return self.from_bytes(read_bytes(path), shown(path), generator)

    def from_bytes(self, data: bytes, name: str, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Draw the views of an image; decode a JPEG no finer than the crop needs.

        The draws are the same as with full decoding. If each pixel is a mean over 2, 4 or 8, the edges of the crop move
        to the nearest pixel borders.

        Args:
            data: bytes of the image file.
            name: for messages.
            generator: see `__call__`.

        Raises:
            ValueError: the image cannot be read; the message names it and says why.
        """
        size = jpeg_size(data, name)
        if size is None:
            return self(self.whole(data, name), generator)
        choice = self.draw(size, generator)
        factor = self.reduction(choice.box[2:])
        few = size[0] * size[1] <= MOST_PIXELS * factor**2
        pixels = decode_reduced(data, factor) if few else None
        if pixels is None or pixels.shape[:2] != (-(-size[0] // factor), -(-size[1] // factor)):
            # OpenCV may read the header differently.
            image = self.whole(data, name)
            return self.render(image, choice) if image.shape[1:] == size else self(image, generator)
        # (H, W, 3) -> (3, H, W)
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        return self.render(image, replace(choice, box=reduced_box(choice.box, factor)))

    def whole(self, data: bytes, name: str) -> Tensor:
        """Decode the whole image: uint8 (3, H, W); see `decode`."""
        return torch.from_numpy(decode(data, name, self.value_range)).permute(2, 0, 1)

    def draw(self, size: tuple[int, int], generator: torch.Generator | None = None) -> Choice:
        """Draw all random choices for the view of an image of ``size`` (H, W)."""
        factors = jitter_factors(self.color_jitter, generator) if self.color_jitter else None
        box = self.draw_box(size, generator)
        mirrored = self.crop != 'centre' and bool(torch.rand((), generator=generator) < 0.5)
        return Choice(box, mirrored, factors)

    def render(self, image: Tensor, choice: Choice) -> dict[str, Tensor]:
        """Make the views from the choices drawn; see `__call__`."""
        if choice.factors is not None:
            image = change_colours(image, choice.factors)
        top, left, h, w = choice.box
        crop = image[:, top : top + h, left : left + w]
        views = {'inputs': resize(crop, self.size)}
        if self.token_size is not None:
            views['token_inputs'] = resize_lanczos(crop, self.token_size)
        return {name: view.flip(2) for name, view in views.items()} if choice.mirrored else views

    def reduction(self, size: tuple[int, ...]) -> int:
        """Largest factor of 1, 2, 4 and 8 by which a crop of ``size`` (h, w) may be reduced before it is resized."""
        views = [self.size] if self.token_size is None else [self.size, self.token_size]
        spare = min(side / wanted for view in views for side, wanted in zip(size, view, strict=True)) / LEAST_SHRINK
        return max(factor for factor in REDUCED if factor <= max(1, spare))

    def draw_box(self, size: tuple[int, int], generator: torch.Generator | None) -> Box:
        """Draw the crop (top, left, h, w) in an image of ``size`` (H, W)."""
        if self.crop == 'random':
            return draw_crop(size, self.crop_scale, generator)
        h, w = largest_box(size, self.size[1] / self.size[0], FIXED_SHARE)
        free = (size[0] - h, size[1] - w)
        if self.crop == 'centre':
            return free[0] // 2, free[1] // 2, h, w
        draws = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        return int(draws[0] * (free[0] + 1)), int(draws[1] * (free[1] + 1)), h, w


def largest_box(size: tuple[int, int], ratio: float, share: float) -> tuple[int, int]:
    """Size (h, w) of a box with w / h = ``ratio`` whose limiting side is ``share`` of that side of the image (H, W)."""
    h = share * min(size[0], size[1] / ratio)
    return max(1, round(h)), max(1, round(h * ratio))


def reduced_box(box: Box, factor: int) -> Box:
    """Convert a box (top, left, h, w) to pixels ``factor`` times as large; each edge moves to the nearest border."""
    top, left, bottom, right = (
        (edge + factor // 2) // factor for edge in (box[0], box[1], box[0] + box[2], box[1] + box[3])
    )
    return top, left, bottom - top, right - left


def jitter_factors(strength: float, generator: torch.Generator | None = None) -> tuple[float, ...]:
    """Draw factors of brightness, contrast and saturation in 1 - strength ... 1 + strength.

    torchvision's ColorJitter is not used: it shuffles the order and draws from PyTorch's global generator, which
    mmengine seeds identically in every epoch.
    """
    return tuple((1 + strength * (2 * torch.rand(3, generator=generator, dtype=torch.float64) - 1)).tolist())


def change_colours(image: Tensor, factors: Sequence[float]) -> Tensor:
    """Multiply brightness, contrast and saturation of uint8 (3, H, W) in this order."""
    changes = (vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation)
    for change, factor in zip(changes, factors, strict=True):
        image = change(image, factor)
    return image


def resize_lanczos(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize uint8 (3, H, W) to (3, *size) with Pillow's Lanczos filter."""
    # (3, H, W) -> (H, W, 3) and back
    pixels = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    resized = pixels.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)
