"""Make a token cache: fixed random views of every image, and the tokenizer's ids of these views.

Letters: N images, K views of each, h, w grid of codes.
"""

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from pretrain.data.randomness import seed_worker
from pretrain.data.reading import read_tensor
from pretrain.data.transforms import draw_crop, pair
from pretrain.data.views import resize_lanczos
from pretrain.tokenizer.cache import About, cut_view, list_images
from pretrain.tokenizer.dvae import DiscreteVAE

# How a cache is made. It is renamed to ``about.json`` when the cache is complete.
BEGUN = 'begun.json'
# Size of an image that is not processed yet.
UNDONE = -1
# Least number of views that the tokenizer takes at once.
BATCH = 64
# Number of images after which the rows are written to disk.
KEEP = 1000


def describe(
    tokenizer: DiscreteVAE, token_size: int | Sequence[int], crop_scale: Sequence[float], seed: int = 0
) -> About:
    """Describe a cache of such views by this tokenizer.

    Raises:
        ValueError: a side of ``token_size`` is not made of whole codes, or ``crop_scale`` holds no shares.
    """
    size = pair(token_size)
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
        tokenizer: see `pretrain.tokenizer.dvae.load_tokenizer`.
        about: see `describe`.
        data_root: directory of images, or several, as for `pretrain.data.unlabelled.UnlabelledImages`.
        out: directory to write, absent or empty; or a cache that was cut short, which is then continued.
        views: K.
        workers: processes that read images.

    Returns:
        number of images in the cache, which are those that can be read.

    Raises:
        ValueError: ``out`` holds other files, there is no image, or none that can be read, or ``views`` is not
            positive.
    """
    folder = Path(out)
    if views < 1:
        raise ValueError(f'views={views}: a cache needs at least one view of each image')
    paths, names = list_images(data_root)
    rows = _open(folder, about, names, views, tokenizer.stride)
    left = np.flatnonzero(rows.sizes[:, 0] == UNDONE)
    loader = DataLoader(
        Subset(_Views(paths, views, about), left.tolist()),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=seed_worker if workers else None,
    )
    _fill(rows, tokenizer, zip(left.tolist(), loader, strict=True))
    if not rows.sizes.any():
        raise ValueError(f'none of the {len(paths)} images can be read, the first is {paths[0]}')
    # Renamed last: a cache without this file is incomplete.
    (folder / BEGUN).rename(folder / 'about.json')
    return int(rows.sizes.any(axis=1).sum())


def draw_views(
    size: tuple[int, int], count: int, crop_scale: tuple[float, float], generator: torch.Generator
) -> list[tuple[int, ...]]:
    """Draw views as `pretrain.data.views.ViewMaker` does: random boxes, mirrored with probability one half.

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


class Entry(NamedTuple):
    """An image of a cache: its size (H, W), its views (K, 5), and their pixels (K, 3, *token_size)."""

    size: tuple[int, int]
    views: list[tuple[int, ...]]
    pixels: Tensor


class _Views(Dataset):
    """The `Entry` of every image; None for one that cannot be read."""

    def __init__(self, paths: list[str], count: int, about: About) -> None:
        self.paths, self.count, self.about = paths, count, about

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Entry | None:
        try:
            image = read_tensor(self.paths[index])
        except ValueError as error:
            warnings.warn(f'{error}; it is left out of the cache', stacklevel=2)
            return None
        size = (image.shape[1], image.shape[2])
        # Each image has its own seed, so that the views do not depend on the number of workers.
        seed = np.random.SeedSequence([self.about.seed, index]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(seed[0]))
        views = draw_views(size, self.count, self.about.crop_scale, generator)
        pixels = [cut_view(image, view, self.about.token_size, resize_lanczos) for view in views]
        return Entry(size, views, torch.stack(pixels))


class _Rows(NamedTuple):
    """The files of a cache: ids (N, K, h, w), views (N, K, 5), and sizes (N, 2), `UNDONE` for rows not yet filled."""

    ids: np.memmap
    views: np.memmap
    sizes: np.memmap

    def flush(self) -> None:
        """Write to disk, the sizes last, because they tell which rows are filled."""
        for rows in self:
            rows.flush()


def _open(folder: Path, about: About, names: list[bytes], views: int, stride: int) -> _Rows:
    """Begin a cache, or continue one that was cut short.

    Raises:
        ValueError: the directory holds other files, or the beginning of another cache.
    """
    files = [folder / f'{name}.npy' for name in _Rows._fields]
    content = json.dumps(asdict(about), indent=2) + '\n'
    if (folder / BEGUN).is_file():
        old = np.load(files[1], mmap_mode='r').shape[1]
        same = (folder / BEGUN).read_text() == content and np.array_equal(np.load(folder / 'paths.npy'), names)
        if not same or old != views:
            raise ValueError(
                f'{folder} holds the beginning of another cache (of other images, views, options or another '
                'tokenizer): give the same to finish it, or a new directory'
            )
        return _Rows(*(open_memmap(file, 'r+') for file in files))
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f'{folder} is not empty: give a new directory')
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / 'paths.npy', np.array(names))
    kind = np.uint16 if about.vocab_size <= 2**16 else np.int32
    grid, count = [side // stride for side in about.token_size], len(names)
    rows = _Rows(
        open_memmap(files[0], 'w+', kind, (count, views, *grid)),
        open_memmap(files[1], 'w+', np.int32, (count, views, 5)),
        open_memmap(files[2], 'w+', np.int32, (count, 2)),
    )
    rows.sizes[:] = UNDONE
    rows.flush()
    # Written last: from here on the cache can be continued.
    (folder / BEGUN).write_text(content)
    return rows


def _fill(rows: _Rows, tokenizer: DiscreteVAE, entries: Iterable[tuple[int, Entry | None]]) -> None:
    """Write ids, views and sizes; an image that cannot be read gets the size 0 x 0."""
    waiting: list[tuple[int, Entry]] = []
    for number, (index, entry) in enumerate(entries, 1):
        if entry is None:
            rows.sizes[index] = 0
        else:
            waiting.append((index, entry))
        if len(waiting) * rows.views.shape[1] >= BATCH:
            _encode(rows, tokenizer, waiting)
            waiting = []
        if number % KEEP == 0:
            rows.flush()
    _encode(rows, tokenizer, waiting)
    rows.flush()


def _encode(rows: _Rows, tokenizer: DiscreteVAE, waiting: list[tuple[int, Entry]]) -> None:
    """Tokenize the views of several images at once, and write the rows of these images."""
    if not waiting:
        return
    pixels = torch.cat([entry.pixels for _, entry in waiting])
    ids = tokenizer.encode(pixels.to(next(tokenizer.parameters()).device) / 255).cpu().numpy()
    for (index, entry), own in zip(waiting, np.split(ids, len(waiting)), strict=True):
        rows.ids[index], rows.views[index] = own, entry.views
        rows.sizes[index] = entry.size
