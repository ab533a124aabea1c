"""Image sets packed in tar files, for network and object storage, which is slow with many small files.

The format is that of the ``webdataset`` package (pip install 'dense-mae[shards]'): plain tar files, here beside an
``index.json`` that tells how many images each holds.
"""

import itertools
import json
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import torch
from mmengine.dist import get_dist_info
from mmengine.registry import DATASETS
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from pretrain.images import IMAGE_SUFFIXES, find_images
from pretrain.transforms import pair
from pretrain.views import ViewMaker

INDEX = 'index.json'


def webdataset() -> ModuleType:
    """The package that reads and writes shards.

    Raises:
        ImportError: it is not installed; says how to.
    """
    try:
        import webdataset as package
    except ImportError as error:
        raise ImportError("shards need the webdataset package: pip install 'dense-mae[shards]'") from error
    return package


def write_shards(roots: str | Sequence[str], out: str | Path, images_per_shard: int = 1000) -> list[dict]:
    """Pack the images under some directories into tar files, in random order, bytes as they are.

    Args:
        roots: a directory, or several.
        out: directory for the shards and their index.
        images_per_shard: images in each but the last.

    Returns:
        the index: ``name`` and ``images`` of each shard.

    Raises:
        ValueError: a directory holds no image, or ``out`` has shards already, or ``images_per_shard`` is below 1.
    """
    if images_per_shard < 1:
        raise ValueError(f'images_per_shard={images_per_shard} is below 1')
    folder, package = Path(out), webdataset()
    if (folder / INDEX).exists():
        raise ValueError(f'{folder} has an {INDEX} already: choose another directory')
    folder.mkdir(parents=True, exist_ok=True)
    paths = find_images(roots)
    # Each shard is then a sample of all images.
    random.Random(0).shuffle(paths)
    index = []
    for start in range(0, len(paths), images_per_shard):
        part, name = paths[start : start + images_per_shard], f'{start // images_per_shard:06d}.tar'
        with package.TarWriter(str(folder / name)) as writer:
            for number, path in enumerate(part, start):
                suffix = Path(path).suffix.lower().lstrip('.')
                writer.write({'__key__': f'{number:09d}', suffix: Path(path).read_bytes()})
        index.append({'name': name, 'images': len(part)})
    # Last: an unfinished set has no index and is not taken for one.
    (folder / INDEX).write_text(json.dumps({'shards': index}, indent=1))
    return index


def read_index(root: str) -> list[dict]:
    """Read the index of a set of shards.

    Args:
        root: directory, or address that the webdataset package opens.

    Raises:
        ValueError: there is none, or it is none of ours.
    """
    try:
        with webdataset().gopen(f'{root}/{INDEX}') as file:
            shards = json.loads(file.read())['shards']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{root} has no {INDEX} of shards ({error}): write them with `python tools/shards.py DIR OUT`'
        ) from error
    if not shards:
        raise ValueError(f'{root}/{INDEX} lists no shards')
    return shards


@DATASETS.register_module()
class ShardedImages(IterableDataset):
    """Unlabelled images out of shards, read as a stream: each process and worker has shards of its own.

    Every epoch shuffles the shards of a worker, and their images in a buffer. All workers give equally many images, so
    that no process waits for another at the end: where shards are uneven, a few images come twice or not at all in an
    epoch. Randomness follows PyTorch's, so that a resumed run goes on as an uninterrupted one. In a config it takes
    the place of `UnlabelledImages`, with ``train_dataloader.sampler=None``.

    Args:
        data_root: directory of shards, or an address such as ``https://HOST/PATH`` or ``s3://BUCKET/PATH``.
        crop_size: see `UnlabelledImages`, as the next four.
        crop_scale: of these.
        crop: of these.
        color_jitter: of these.
        token_size: of these.
        buffer: images among which each next one is drawn.

    Raises:
        ImportError: webdataset is not installed.
        ValueError: there is no index, or a value is unknown or out of its range.
    """

    # mmengine hands it to the visualizer; there are no classes here.
    metainfo: dict = {}

    def __init__(
        self,
        data_root: str,
        crop_size: int | tuple[int, int] = 224,
        crop_scale: tuple[float, float] = (0.2, 1.0),
        crop: str = 'random',
        color_jitter: float = 0.0,
        token_size: int | tuple[int, int] | None = None,
        buffer: int = 1000,
    ) -> None:
        self.root = os.fspath(data_root).rstrip('/')
        self.shards = read_index(self.root)
        token_pair = None if token_size is None else pair(token_size)
        self.make_views = ViewMaker(pair(crop_size), crop, crop_scale, color_jitter, token_pair)
        self.buffer = buffer

    def __len__(self) -> int:
        """Images of this process in an epoch: the same in every process."""
        return sum(shard['images'] for shard in self.shards) // get_dist_info()[1]

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Give the views of this worker's images, see `UnlabelledImages`.

        Raises:
            ValueError: there are fewer shards than workers of all processes.
        """
        rank, processes = get_dist_info()
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        mine = self.shards[rank + processes * worker :: processes * workers]
        if not mine:
            raise ValueError(
                f'{self.root} has {len(self.shards)} shards for {processes} processes of {workers} workers: '
                'use fewer workers, or write smaller shards'
            )
        quota = len(self) // workers + (worker < len(self) % workers)
        for suffix, content in itertools.islice(self._samples(mine), quota):
            with tempfile.NamedTemporaryFile(suffix=suffix) as file:
                file.write(content)
                file.flush()
                yield self.make_views.from_file(file.name)

    def _samples(self, shards: list[dict]) -> Iterator[tuple[str, bytes]]:
        """Suffix and bytes of the images of shards, over and over."""
        package = webdataset()
        draw = random.Random(int(torch.randint(2**62, ())))
        while True:
            names = [f'{self.root}/{shard["name"]}' for shard in draw.sample(shards, len(shards))]
            stream = package.WebDataset(
                names, shardshuffle=False, nodesplitter=None, workersplitter=None, handler=package.warn_and_continue
            ).shuffle(self.buffer, rng=draw)
            for sample in stream:
                yield from ((f'.{name}', value) for name, value in sample.items() if f'.{name}' in IMAGE_SUFFIXES)
