"""Token ids of an image set, computed once, with the views they were computed on.

A cache is a directory with ``about.json`` (how it was made), and ``paths``, ``sizes``, ``views`` and ``ids`` as
``.npy``; the last two are memory-mapped. Letters: N images, K views of each, V codes, h, w grid of codes.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import DATASETS
from torch import Tensor
from torch.utils.data import Dataset

from pretrain.data.images import find_training_images
from pretrain.data.reading import read_next, read_tensor
from pretrain.data.transforms import pair, resize
from pretrain.tokenizer.dvae import load_tokenizer


@dataclass(frozen=True)
class About:
    """How a cache was made.

    Args:
        tokenizer: `DiscreteVAE.fingerprint`.
        vocab_size: codes V.
        token_size: (height, width) of the tokenizer's view, in pixels.
        crop_scale: least and greatest share of an image's area in a view.
        seed: the seed that the views were drawn with.
        file: `file_digest` of the tokenizer's checkpoint; if it is equal, the checkpoint need not be loaded to compare.
    """

    tokenizer: str
    vocab_size: int
    token_size: tuple[int, int]
    crop_scale: tuple[float, float]
    seed: int
    file: str = ''


def cut_view(
    image: Tensor, view: Sequence[int] | np.ndarray, size: tuple[int, int], shrink: Callable[..., Tensor]
) -> Tensor:
    """Cut a view out of an image and resize it, as `pretrain.data.views.ViewMaker` does.

    Args:
        image: uint8 (3, H, W).
        view: top, left, height, width in pixels, then 1 to mirror the view, else 0.
        size: (height, width) wanted.
        shrink: `resize` for the encoder, `pretrain.data.views.resize_lanczos` for a tokenizer.

    Returns:
        uint8 (3, *size).
    """
    top, left, height, width, mirrored = (int(number) for number in view)
    crop = shrink(image[:, top : top + height, left : left + width], size)
    return crop.flip(2) if mirrored else crop


def file_digest(path: str | Path) -> str:
    """Hash the bytes of a file, or of the files in a directory."""
    place, digest = Path(path), hashlib.sha256()
    for file in sorted(each for each in place.iterdir() if each.is_file()) if place.is_dir() else [place]:
        with file.open('rb') as content:
            for part in iter(partial(content.read, 2**20), b''):
                digest.update(part)
    return digest.hexdigest()


def list_images(data_root: str | Sequence[str]) -> tuple[list[str], list[bytes]]:
    """Paths of the images below one or several directories, and the same paths relative to these directories."""
    roots = [data_root] if isinstance(data_root, str | os.PathLike) else data_root
    paths = find_training_images(roots)
    below = [next(root for root in roots if path.startswith(os.path.join(root, ''))) for path in paths]
    return paths, [os.fsencode(os.path.relpath(path, root)) for path, root in zip(paths, below, strict=True)]


@DATASETS.register_module()
class CachedTokenImages(Dataset):
    """Images with the token ids of ``tools/tokens.py cache``, one cached view of an image at a time.

    The views have no colour jitter, because the ids belong to the plain images.

    Args:
        data_root: the directory that the cache was made from, or several.
        cache: directory of the cache.
        tokenizer: the tokenizer's checkpoint; it must have the weights that the cache was made with.
        crop_size: side of the views in pixels, or (height, width).
        token_size: side of the tokenizer's views that the cache was made from, or (height, width).

    Raises:
        ValueError: the cache is incomplete, or is of other images, another tokenizer or another size.
    """

    # mmengine passes this to the visualizer; there are no classes here.
    metainfo: dict = {}

    def __init__(
        self,
        data_root: str | Sequence[str],
        cache: str,
        tokenizer: str,
        crop_size: int | tuple[int, int] = 224,
        token_size: int | tuple[int, int] = 112,
    ) -> None:
        about, folder = _read_about(cache), Path(cache)
        self.crop_size = pair(crop_size)
        paths, names = list_images(data_root)
        _check(about, cache, pair(token_size), self.crop_size)
        if not is_made_with(about, tokenizer):
            raise ValueError(f'{cache} was made with another tokenizer than {tokenizer}: {AGAIN}')
        if not np.array_equal(np.load(folder / 'paths.npy'), np.array(names)):
            raise ValueError(f'{cache} was made of other images than those in {data_root}: {AGAIN}')
        sizes = np.load(folder / 'sizes.npy')
        readable = np.flatnonzero(sizes.any(axis=1))
        # One array of bytes, see UnlabelledImages.
        self.paths = np.array([os.fsencode(paths[index]) for index in readable])
        self.sizes, self.rows = sizes[readable], readable
        self.views = np.load(folder / 'views.npy', mmap_mode='r')
        self.ids = np.load(folder / 'ids.npy', mmap_mode='r')

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Read one image: ``{'inputs': uint8 (3, height, width), 'token_ids': int64 (h, w)}``, a view drawn at random.

        A file that cannot be read is named in a warning, and the next one takes its place.

        Raises:
            ValueError: no file can be read, or a file is not the one that the ids were computed on.
        """
        image, place = read_next(self.paths, index, read_tensor)
        if image.shape[1:] != tuple(self.sizes[place]):
            raise ValueError(f'{os.fsdecode(self.paths[place])} has changed since its tokens were cached: {AGAIN}')
        row = self.rows[place]
        number = int(torch.randint(self.ids.shape[1], ()))
        ids = torch.from_numpy(self.ids[row, number].astype(np.int64))
        return {'inputs': cut_view(image, self.views[row, number], self.crop_size, resize), 'token_ids': ids}


AGAIN = 'make the cache again with `python tools/tokens.py cache`'


def is_made_with(about: About, tokenizer: str) -> bool:
    """Whether a cache was made with these weights; compares the bytes of the file first, then the weights."""
    if about.file and Path(tokenizer).exists() and file_digest(tokenizer) == about.file:
        return True
    return load_tokenizer(tokenizer).fingerprint() == about.tokenizer


def _read_about(cache: str) -> About:
    """Read how the cache was made; this file is written last, so it is missing if the run was cut short."""
    path = Path(cache) / 'about.json'
    if not path.is_file():
        raise ValueError(f'{cache} holds no token cache, or one that was cut short: {AGAIN}')
    content = json.loads(path.read_text())
    return About(**{**content, **{key: tuple(content[key]) for key in ('token_size', 'crop_scale')}})


def _check(about: About, cache: str, token_size: tuple[int, int], crop_size: tuple[int, int]) -> None:
    if about.token_size != token_size:
        raise ValueError(
            f'{cache} was made of views of {about.token_size} pixels, and token_size={token_size} is asked for: {AGAIN}'
        )
    if crop_size[0] * token_size[1] != crop_size[1] * token_size[0]:
        raise ValueError(f'crop_size={crop_size} has not the shape of the cached views, {token_size}: change either')
