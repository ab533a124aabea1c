"""Making a token cache: fixed random views of every image, and the tokenizer's ids of them.

Letters: N images, K views of each, h, w grid of codes.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pretrain.token_cache import About, as_size, cut_view, list_images, load_image
from pretrain.tokenizer import DiscreteVAE
from pretrain.transforms import draw_crop
from pretrain.views import resize_lanczos


def describe(
    tokenizer: DiscreteVAE, token_size: int | Sequence[int], crop_scale: Sequence[float], seed: int = 0
) -> About:
    """Say what a cache by this tokenizer, of views like these, belongs to.

    Raises:
        ValueError: a side of ``token_size`` is not made of whole codes, or ``crop_scale`` holds no shares.
    """
    size = as_size(token_size)
    if any(side % tokenizer.stride or side < 1 for side in size):
        raise ValueError(f'token_size={token_size} is not made of whole codes of {tokenizer.stride} pixels')
    least, most = float(crop_scale[0]), float(crop_scale[1])
    if not 0 < least <= most <= 1:
        raise ValueError(f'crop_scale=({least}, {most}): give two rising shares of the area, such as (0.2, 1)')
    return About(tokenizer.fingerprint(), tokenizer.vocab_size, size, (least, most), seed)


def write_cache(
    tokenizer: DiscreteVAE, about: About, data_root: str | Sequence[str], out: str | Path, views: int, workers: int = 0
) -> int:
    """Tokenize K random views of every image on the tokenizer's device, and keep both for `CachedTokenImages`.

    Args:
        tokenizer: see `pretrain.tokenizer.load_tokenizer`.
        about: see `describe`.
        data_root: directory of images, or several, as for `pretrain.data.UnlabelledImages`.
        out: directory to write, absent or empty.
        views: K.
        workers: processes that read images.

    Returns:
        images in the cache: those that can be read.

    Raises:
        ValueError: ``out`` holds files, there is no image, or none that can be read, or ``views`` is not positive.
    """
    folder = Path(out)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f'{out} is not empty: give a new directory')
    if views < 1:
        raise ValueError(f'views={views}: a cache needs at least one view of each image')
    paths, names = list_images(data_root)
    folder.mkdir(parents=True, exist_ok=True)
    loader = DataLoader(_Views(paths, views, about), batch_size=None, num_workers=workers)
    sizes = _fill(folder, tokenizer, about, loader, (len(paths), views))
    if not sizes.any():
        raise ValueError(f'none of the {len(paths)} images can be read, the first is {paths[0]}')
    np.save(folder / 'sizes.npy', sizes)
    np.save(folder / 'paths.npy', np.array(names))
    # Last: without it a cache is not whole.
    (folder / 'about.json').write_text(json.dumps(asdict(about), indent=2) + '\n')
    return int(sizes.any(axis=1).sum())


def draw_views(
    size: tuple[int, int], count: int, crop_scale: tuple[float, float], generator: torch.Generator
) -> list[tuple[int, ...]]:
    """Draw views as `pretrain.views.ViewMaker` does: random boxes, every other one mirrored.

    Args:
        size: (H, W) of the image.
        count: views K.
        crop_scale: least and greatest share of the area.
        generator: source of randomness.

    Returns:
        per view: top, left, height, width, 1 if mirrored else 0.
    """
    return [
        (*draw_crop(size, crop_scale, generator), int(torch.rand((), generator=generator) < 0.5)) for _ in range(count)
    ]


class _Views(Dataset):
    """Size, views (K, 5) and pixels (K, 3, *token_size) of every image; None for one that cannot be read."""

    def __init__(self, paths: list[str], count: int, about: About) -> None:
        self.paths, self.count, self.about = paths, count, about

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[tuple[int, int], list[tuple[int, ...]], Tensor] | None:
        try:
            image = load_image(self.paths[index])
        except ValueError as error:
            warnings.warn(f'{error}; it is left out of the cache', stacklevel=2)
            return None
        size = (image.shape[1], image.shape[2])
        # Of its own for each image, so that the views do not depend on the number of workers.
        seed = np.random.SeedSequence([self.about.seed, index]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(seed[0]))
        views = draw_views(size, self.count, self.about.crop_scale, generator)
        return (
            size,
            views,
            torch.stack([cut_view(image, view, self.about.token_size, resize_lanczos) for view in views]),
        )


def _fill(folder: Path, tokenizer: DiscreteVAE, about: About, loader: DataLoader, shape: tuple[int, int]) -> np.ndarray:
    """Write ids and views of (N, K); return the sizes (N, 2), 0 x 0 for an image that cannot be read."""
    grid = [side // tokenizer.stride for side in about.token_size]
    kind = np.uint16 if about.vocab_size <= 2**16 else np.int32
    ids = open_memmap(folder / 'ids.npy', 'w+', kind, (*shape, *grid))
    boxes = open_memmap(folder / 'views.npy', 'w+', np.int32, (*shape, 5))
    sizes = np.zeros((shape[0], 2), np.int32)
    device = next(tokenizer.parameters()).device
    for index, entry in enumerate(loader):
        if entry is not None:
            sizes[index], boxes[index], pixels = entry
            ids[index] = tokenizer.encode(pixels.to(device) / 255).cpu().numpy()
    ids.flush()
    boxes.flush()
    return sizes
