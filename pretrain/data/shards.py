"""Image sets packed in tar files, for network and object storage, which is slow with many small files.

An index beside the tar files tells where each image begins. So each image can be read by itself, and loaders, samplers,
epochs and resumed runs work as with an image set in a directory. The files are read through fsspec from a directory, or
from an address such as ``https://HOST/PATH`` or ``s3://BUCKET/PATH``, with the package that fsspec names.
"""

import io
import json
import os
import warnings
from collections.abc import Sequence
from typing import Any

import fsspec
import numpy as np
import torch
from mmengine.registry import DATASETS
from torch import Tensor
from torch.utils.data import Dataset

from backbones.data.images.read import Range
from pretrain.data.shards_write import INDEX, PLACES
from pretrain.data.transforms import pair
from pretrain.data.views import ViewMaker

AGAIN = 'write it with `python tools/shards.py DIR OUT`'


@DATASETS.register_module()
class ShardedImages(Dataset):
    """Unlabelled images from shards; a config can use it instead of `pretrain.data.unlabelled.UnlabelledImages`.

    The images of a batch are fetched together. An image that cannot be read is named in a warning, and the next one
    takes its place.

    Args:
        data_root: directory of shards, or their address.
        crop_size: see `pretrain.data.unlabelled.UnlabelledImages`, also for the next six.
        crop_scale: see there.
        crop: see there.
        color_jitter: see there.
        token_size: see there.
        repeats: see there.
        value_range: see there.

    Raises:
        ValueError: there is no index, a shard does not match it, or a value is unknown or out of its range.
    """

    # mmengine passes this to the visualizer; there are no classes here.
    metainfo: dict = {}

    def __init__(
        self,
        data_root: str,
        crop_size: int | tuple[int, int] = 224,
        crop_scale: tuple[float, float] = (0.2, 1.0),
        crop: str = 'random',
        color_jitter: float = 0.0,
        token_size: int | tuple[int, int] | None = None,
        repeats: int = 1,
        value_range: Range | None = None,
    ) -> None:
        if repeats < 1:
            raise ValueError(f'repeats={repeats} is below 1')
        self.repeats = repeats
        self.root = os.fspath(data_root).rstrip('/')
        self.names, self.places = read_index(self.root)
        token_pair = None if token_size is None else pair(token_size)
        self.make_views = ViewMaker(pair(crop_size), crop, crop_scale, color_jitter, token_pair, value_range)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Read one image and draw its views, see `pretrain.data.unlabelled.UnlabelledImages`.

        Raises:
            ValueError: no image can be read.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Tensor]]:
        """Read the images of a batch, see `__getitem__`; PyTorch's loaders call this method."""
        return [self._views(index, content) for index, content in zip(indices, self._fetch(indices), strict=True)]

    def _views(self, index: int, content: bytes | Exception) -> dict[str, Tensor]:
        for step in range(len(self)):
            place = (index + step) % len(self)
            try:
                return self._draw(content if step == 0 else self._fetch([place])[0], place)
            except ValueError as error:
                warnings.warn(f'{error}; the next image takes its place', stacklevel=2)
        raise ValueError(f'none of the {len(self)} images in {self.root} can be read')

    def _draw(self, content: bytes | Exception, place: int) -> dict[str, Tensor]:
        shard, _, length = self.places[place].tolist()
        name = f'image {place:09d} in {self.root}/{self.names[shard]}'
        if isinstance(content, Exception):
            raise ValueError(f'{name} cannot be read: {content}') from content
        if len(content) != length:
            # A server that does not support ranges sends the whole file.
            raise ValueError(f'{name} cannot be read: {len(content)} bytes came in place of {length}')
        if self.repeats == 1:
            return self.make_views.from_bytes(content, name)
        image = self.make_views.whole(content, name)
        return torch.utils.data.default_collate([self.make_views(image) for _ in range(self.repeats)])

    def _fetch(self, indices: Sequence[int]) -> list[bytes | Exception]:
        """Fetch the bytes of images; an image that fails gives its exception."""
        # Each worker opens its own connection, because connections do not survive a fork. fsspec caches it.
        files, root = fsspec.core.url_to_fs(self.root)
        shards, starts, lengths = self.places[indices].T.tolist()
        ends = [start + length for start, length in zip(starts, lengths, strict=True)]
        return files.cat_ranges([f'{root}/{self.names[shard]}' for shard in shards], starts, ends, on_error='return')


def read_index(root: str) -> tuple[list[str], np.ndarray]:
    """Read the index of a set of shards.

    Args:
        root: directory, or address.

    Returns:
        names of the shards; int64 (images, 3): number of the shard, first byte in it, bytes of each image.

    Raises:
        ValueError: there is no index, it is not one of ours, or it does not match the shards.
    """
    try:
        files, folder = fsspec.core.url_to_fs(root)
        shards = json.loads(files.cat_file(f'{folder}/{INDEX}'))['shards']
        names, images, sizes = ([each[key] for each in shards] for key in ('name', 'images', 'bytes'))
        places = np.load(io.BytesIO(files.cat_file(f'{folder}/{PLACES}')), allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError, ImportError) as error:
        raise ValueError(f'{root} has no {INDEX} of shards, or an older one ({_told(error)}): {AGAIN}') from error
    if not _fits(names, images, sizes, places):
        raise ValueError(f'{root}: {INDEX} and {PLACES} do not go together, or are damaged: {AGAIN}')
    for name, size in zip(names, sizes, strict=True):
        _check_shard(files, f'{folder}/{name}', size)
    return names, places


def _fits(names: list[Any], images: list[Any], sizes: list[Any], places: np.ndarray) -> bool:
    whole = all(type(number) is int and number > 0 for number in (*images, *sizes))
    plain = all(isinstance(name, str) and os.path.basename(name) == name and '\\' not in name for name in names)
    if not (names and whole and plain) or places.dtype != np.int64 or places.shape != (sum(images), 3):
        return False
    shard, start, length = places.T
    inside = (start >= 0) & (length >= 0)
    return bool(
        np.array_equal(shard, np.repeat(np.arange(len(names)), images))
        and inside.all()
        and (start + length <= np.array(sizes)[shard]).all()
    )


def _check_shard(files: Any, path: str, size: int) -> None:
    """Refuse a shard that is missing or no longer has the size it was written with."""
    try:
        found = files.size(path)
    except OSError as error:
        raise ValueError(f'{path} cannot be read: {_told(error)}') from error
    if found not in (size, None):
        raise ValueError(f'{path} has {found} bytes in place of {size}: it was cut short or changed; copy it again')


def _told(error: BaseException) -> str:
    return f'{type(error).__name__}: {error}'.splitlines()[0]
