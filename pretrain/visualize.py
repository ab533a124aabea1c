"""What a pretrained model makes of an image: original | masked | reconstruction.

Letters: N images, H, W grid in patches, p patch size.
"""

import os
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.images import read_image
from pretrain.mae import MaskedAutoencoder
from pretrain.transforms import resize

HEADER = 28
GAP = 4
GREY = 127


def fit_image(path: str | os.PathLike[str], size: tuple[int, int]) -> Tensor:
    """Read an image, scale it to cover ``size`` (height, width) and cut out the middle: uint8 RGB (3, *size)."""
    image = torch.from_numpy(read_image(path)).permute(2, 0, 1)
    scale = max(size[0] / image.shape[1], size[1] / image.shape[2])
    covering = (max(size[0], round(image.shape[1] * scale)), max(size[1], round(image.shape[2] * scale)))
    top, left = (covering[0] - size[0]) // 2, (covering[1] - size[1]) // 2
    return resize(image, covering)[:, top : top + size[0], left : left + size[1]]


def reconstruct(model: MaskedAutoencoder, images: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Mask images and let the model fill the holes.

    Args:
        model: see `pretrain.restore.load_autoencoder`.
        images: uint8 (N, 3, H * p, W * p).
        seed: of the masks; PyTorch's own random state is left as it was.

    Returns:
        the masked images, and these with the predictions in the holes: uint8, shape of ``images``.
    """
    device = next(model.parameters()).device
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        results = model.val_step({'inputs': images.to(device)})
    preprocessor = model.data_preprocessor
    predicted = torch.stack([result.reconstruction for result in results]) * preprocessor.std + preprocessor.mean
    predicted = predicted.round().clamp(0, 255).to(images)
    holes = torch.stack([result.mask for result in results]).to(images.device)
    patch = model.encoder.patch_size
    # (N, L) -> (N, 1, H, W) -> (N, 1, H p, W p)
    holes = holes.reshape(len(images), 1, images.shape[2] // patch, images.shape[3] // patch)
    holes = holes.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    grey = torch.full_like(images, GREY)
    return torch.where(holes, grey, images), torch.where(holes, predicted, images)


def picture(model: MaskedAutoencoder, paths: Sequence[str | os.PathLike[str]], seed: int = 0) -> np.ndarray:
    """Draw one row per image file: original | masked | reconstruction, with headings that say what is shown.

    Args:
        model: see `pretrain.restore.load_autoencoder`.
        paths: image files; each is cut to the model's training size.
        seed: of the masks.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        ValueError: a file cannot be read.
    """
    size = (model.encoder.pos_grid[0] * model.encoder.patch_size, model.encoder.pos_grid[1] * model.encoder.patch_size)
    images = torch.stack([fit_image(path, size) for path in paths])
    columns = (images, *reconstruct(model, images, seed))
    # three of (N, 3, h, w) -> (N, 3, h, w, 3), padded by the gap -> (N (h + gap), 3 (w + gap), 3)
    tiles = torch.stack(columns, dim=1).permute(0, 1, 3, 4, 2)
    tiles = F.pad(tiles, (0, 0, 0, GAP, 0, GAP), value=255)
    grid = tiles.permute(0, 2, 1, 3, 4).reshape(len(paths) * (size[0] + GAP), 3 * (size[1] + GAP), 3).numpy()
    titles = ('original', f'masked {model.mask_ratio:.0%}', 'reconstruction of the holes')
    heading = np.full((HEADER, grid.shape[1], 3), 255, np.uint8)
    for column, title in enumerate(titles):
        _write(heading, title, column * (size[1] + GAP))
    footing = np.full((HEADER, grid.shape[1], 3), 255, np.uint8)
    _write(footing, footnote(model.target.norm_pix), 0)
    return np.concatenate([heading, grid, footing])


def footnote(norm_pix: bool) -> str:
    """Say whether the picture shows pure predictions or ones that borrow from the original."""
    if norm_pix:
        return 'Predicted: the pattern in a patch. Its mean and contrast are taken from the original.'
    return 'Predicted: the pixels themselves.'


def _write(canvas: np.ndarray, text: str, left: int) -> None:
    """Write a line of text on a strip of height `HEADER`, as large as fits."""
    room = canvas.shape[1] - left - 8
    width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)[0][0]
    scale = min(0.5, room / width)
    cv2.putText(canvas, text, (left + 4, 19), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
