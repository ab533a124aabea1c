"""Pack images into tar files, with an index of where each one lies; `pretrain.data.shards` reads them."""

import io
import json
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pretrain.data.images import find_training_images

INDEX = 'index.json'
# int64 (images, 3): number of the shard, first byte in it, length in bytes.
PLACES = 'places.npy'
# Bytes of a header in a plain (USTAR) tar file.
HEADER = 512


def write_shards(roots: str | Sequence[str], out: str | Path, images_per_shard: int = 1000) -> list[dict]:
    """Pack the images under some directories into tar files in random order, with their bytes unchanged.

    Args:
        roots: a directory, or several.
        out: directory for the shards and their index.
        images_per_shard: number of images in each shard; the last one may have fewer.

    Returns:
        the index: ``name``, ``images`` and ``bytes`` of each shard.

    Raises:
        ValueError: a directory holds no image, ``out`` already has shards, or ``images_per_shard`` is below 1.
    """
    if images_per_shard < 1:
        raise ValueError(f'images_per_shard={images_per_shard} is below 1')
    folder = Path(out)
    if (folder / INDEX).exists():
        raise ValueError(f'{folder} has an {INDEX} already: choose another directory')
    folder.mkdir(parents=True, exist_ok=True)
    paths = find_training_images(roots)
    # Shuffled, so that a program that reads the shards in order still sees mixed images.
    random.Random(0).shuffle(paths)
    shards, places = [], np.empty((len(paths), 3), np.int64)
    for number, start in enumerate(range(0, len(paths), images_per_shard)):
        part, name = paths[start : start + images_per_shard], f'{number:06d}.tar'
        places[start : start + len(part), 0] = number
        places[start : start + len(part), 1:] = _write_shard(folder / name, part, start)
        shards.append({'name': name, 'images': len(part), 'bytes': (folder / name).stat().st_size})
    np.save(folder / PLACES, places)
    # Written last: an unfinished set has no index, so it is not mistaken for a finished one.
    (folder / INDEX).write_text(json.dumps({'shards': shards}, indent=1))
    return shards


def _write_shard(file: Path, paths: Sequence[str], first: int) -> list[tuple[int, int]]:
    """Write a tar file; return the first byte and the length in bytes of each image in it."""
    places = []
    with tarfile.open(file, 'w', format=tarfile.USTAR_FORMAT) as tar:
        for number, path in enumerate(paths, first):
            content = Path(path).read_bytes()
            entry = tarfile.TarInfo(f'{number:09d}{Path(path).suffix.lower()}')
            entry.size = len(content)
            places.append((tar.offset + HEADER, entry.size))
            tar.addfile(entry, io.BytesIO(content))
    return places
