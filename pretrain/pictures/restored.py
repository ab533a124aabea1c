"""Draw images and a pretrained model's predictions side by side: original | masked | reconstruction.

Letters: N images, H, W grid in patches, L = H * W patches, p patch size.
"""

import os
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.data.images import read_image
from pretrain.data.transforms import resize
from pretrain.data.views import resize_lanczos
from pretrain.methods.denoise import DenoisingAutoencoder
from pretrain.methods.masked_model import MaskedImageModel, PretrainingModel
from pretrain.methods.targets import PixelTarget, TokenTarget, Views
from pretrain.pictures.hand_masks import drawn_masks

HEADER = 28
GAP = 4
GREY = 127

# Title and images, uint8 (N, 3, H * p, W * p), of each column in the order drawn.
Columns = list[tuple[str, Tensor]]


def fit_image(path: str | os.PathLike[str], size: tuple[int, int]) -> Tensor:
    """Read an image, scale it to cover ``size`` (height, width) and cut out the middle: uint8 RGB (3, *size)."""
    image = torch.from_numpy(read_image(path)).permute(2, 0, 1)
    scale = max(size[0] / image.shape[1], size[1] / image.shape[2])
    covering = (max(size[0], round(image.shape[1] * scale)), max(size[1], round(image.shape[2] * scale)))
    top, left = (covering[0] - size[0]) // 2, (covering[1] - size[1]) // 2
    return resize(image, covering)[:, top : top + size[0], left : left + size[1]]


def picture(
    model: PretrainingModel,
    paths: Sequence[str | os.PathLike[str]],
    masks: dict[str, Tensor] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Draw one row per image file, with headings and a footnote that say what is shown.

    Args:
        model: see `pretrain.methods.restore.load_model`.
        paths: image files; each is cut to the model's training size.
        masks: title -> bool (N, L), see `pretrain.pictures.hand_masks`; None masks as in training.
        seed: seed of the masks or the noise.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        ValueError: a file cannot be read; see also `reconstruct`.
    """
    height, width = model.image_size
    images = torch.stack([fit_image(path, (height, width)) for path in paths])
    columns = [('original', images), *reconstruct(model, images, masks, seed)]
    # K columns (N, 3, h, w) -> (N, K, h, w, 3), padded by the gap -> (N (h + gap), K (w + gap), 3)
    tiles = torch.stack([tile for _, tile in columns], dim=1).permute(0, 1, 3, 4, 2)
    tiles = F.pad(tiles, (0, 0, 0, GAP, 0, GAP), value=255)
    grid = tiles.permute(0, 2, 1, 3, 4).reshape(len(paths) * (height + GAP), -1, 3).numpy()
    gap = np.full((HEADER, GAP, 3), 255, np.uint8)
    heading = np.concatenate([part for title, _ in columns for part in (strip(title, width), gap)], axis=1)
    return np.concatenate([heading, grid, strip(footnote(model), grid.shape[1])])


def reconstruct(
    model: PretrainingModel, images: Tensor, masks: dict[str, Tensor] | None = None, seed: int = 0
) -> Columns:
    """Corrupt images and let the model restore them.

    Args:
        model: see `pretrain.methods.restore.load_model`.
        images: uint8 (N, 3, H * p, W * p).
        masks: see `picture`.
        seed: seed of the masks or the noise; PyTorch's own random state does not change.

    Returns:
        columns of the model's input and of its result, in which the predicted pixels are set into the image. For a
        model that predicts tokens, the first column is the tokenizer's reconstruction of the whole image, because no
        prediction can look better.

    Raises:
        ValueError: masks for a model that adds noise, or a tokenizer that cannot draw.
    """
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        views = make_views(model, images)
        columns: Columns = []
        if isinstance(model.target, TokenTarget):
            columns.append(("the tokenizer's limit", _draw_tokens(model.target, model.target.ids(views), images)))
        if isinstance(model, MaskedImageModel):
            drawn = drawn_masks(len(images), views.grid, model.mask, [model.mask_ratio], seed)
            for title, mask in (masks or drawn).items():
                columns += _fill_holes(model, images, views, title, mask)
            return columns
        assert isinstance(model, DenoisingAutoencoder)
        if masks:
            raise ValueError('a DenoisingAutoencoder adds noise and hides no patch: leave the masks out')
        return columns + _clean(model, images, views)


def make_views(model: PretrainingModel, images: Tensor) -> Views:
    """Normalise uint8 images (N, 3, H * p, W * p) for the model, and add the tokenizer's view if it is needed."""
    device, patch = next(model.parameters()).device, model.encoder.patch_size
    inputs = model.data_preprocessor({'inputs': images.to(device)})['inputs']
    if not isinstance(model.target, TokenTarget):
        return Views(inputs, patch)
    stride = model.target.tokenizer.stride
    size = (images.shape[2] // patch * stride, images.shape[3] // patch * stride)
    return Views(inputs, patch, torch.stack([resize_lanczos(image, size) for image in images]))


def footnote(model: PretrainingModel) -> str:
    """Say whether the picture shows pure predictions or predictions that use parts of the original."""
    if isinstance(model.target, TokenTarget):
        return 'Predicted: visual tokens, drawn by the tokenizer. Where a patch is shown, its true token.'
    assert isinstance(model.target, PixelTarget)
    if model.target.norm_pix:
        return 'Predicted: the pattern in a patch. Its mean and contrast are taken from the original.'
    return 'Predicted: the pixels themselves.'


def _fill_holes(model: MaskedImageModel, images: Tensor, views: Views, title: str, mask: Tensor) -> Columns:
    """Two columns: the masked images, and the images with the holes filled."""
    results = model.predict_for_mask(views, mask.to(views.images.device))
    # (N, L) -> (N, 1, H, W) -> (N, 1, H p, W p)
    holes = mask.reshape(len(images), 1, *views.grid)
    holes = holes.repeat_interleave(views.patch_size, 2).repeat_interleave(views.patch_size, 3)
    masked = torch.where(holes, torch.full_like(images, GREY), images)
    if isinstance(model.target, TokenTarget):
        tokens = torch.stack([result.tokens for result in results])
        return [(title, masked), ('restored', _draw_tokens(model.target, tokens, images))]
    predicted = _grey_levels(model, torch.stack([result.reconstruction for result in results]))
    return [(title, masked), ('restored', torch.where(holes, predicted, images))]


def _clean(model: DenoisingAutoencoder, images: Tensor, views: Views) -> Columns:
    """Two columns: noisy images, and cleaned images with every patch predicted."""
    results = model.predict(views)
    noisy = (f'noise of {model.noise:g}', _grey_levels(model, torch.stack([each.corrupted for each in results])))
    if isinstance(model.target, TokenTarget):
        tokens = torch.stack([result.tokens for result in results])
        return [noisy, ('restored', _draw_tokens(model.target, tokens, images))]
    return [noisy, ('restored', _grey_levels(model, torch.stack([each.reconstruction for each in results])))]


def _grey_levels(model: PretrainingModel, images: Tensor) -> Tensor:
    """Convert normalised images (N, 3, h, w) to uint8 on the CPU."""
    preprocessor = model.data_preprocessor
    return (images * preprocessor.std + preprocessor.mean).round().clamp(0, 255).byte().cpu()


def _draw_tokens(target: TokenTarget, tokens: Tensor, images: Tensor) -> Tensor:
    """Draw tokens (N, H, W) with the tokenizer: uint8, as large as ``images`` (N, 3, H * p, W * p)."""
    drawn = target.tokenizer.decode(tokens).mul(255).round().byte().cpu()
    return torch.stack([resize(each, (images.shape[2], images.shape[3])) for each in drawn])


def strip(text: str, width: int) -> np.ndarray:
    """Write a line of text on white, uint8 (HEADER, width, 3), as large as fits."""
    canvas = np.full((HEADER, width, 3), 255, np.uint8)
    length = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)[0][0]
    size = min(0.5, (width - 8) / length)
    return cv2.putText(canvas, text, (4, 19), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1, cv2.LINE_AA)
