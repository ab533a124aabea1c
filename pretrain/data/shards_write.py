"""Packing images in tar files, with an index of where each one lies; `pretrain.data.shards` reads them."""

import io
import json
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pretrain.data.images import find_training_images

INDEX = 'index.json'
# int64 (images, 3): number of the shard, first byte in it, bytes.
PLACES = 'places.npy'
# Of a header in a tar file of the plain kind.
HEADER = 512


def write_shards(roots: str | Sequence[str], out: str | Path, images_per_shard: int = 1000) -> list[dict]:
    """Pack the images under some directories into tar files, in random order, bytes as they are.

    Args:
        roots: a directory, or several.
        out: directory for the shards and their index.
        images_per_shard: images in each but the last.

    Returns:
        the index: ``name``, ``images`` and ``bytes`` of each shard.

    Raises:
        ValueError: a directory holds no image, or ``out`` has shards already, or ``images_per_shard`` is below 1.
    """
    if images_per_shard < 1:
        raise ValueError(f'images_per_shard={images_per_shard} is below 1')
    folder = Path(out)
    if (folder / INDEX).exists():
        raise ValueError(f'{folder} has an {INDEX} already: choose another directory')
    folder.mkdir(parents=True, exist_ok=True)
    paths = find_training_images(roots)
    # What is read in order, by another program, is then mixed.
    random.Random(0).shuffle(paths)
    shards, places = [], np.empty((len(paths), 3), np.int64)
    for number, start in enumerate(range(0, len(paths), images_per_shard)):
        part, name = paths[start : start + images_per_shard], f'{number:06d}.tar'
        places[start : start + len(part), 0] = number
        places[start : start + len(part), 1:] = _write_shard(folder / name, part, start)
        shards.append({'name': name, 'images': len(part), 'bytes': (folder / name).stat().st_size})
    np.save(folder / PLACES, places)
    # Last: an unfinished set has no index and is not taken for one.
    (folder / INDEX).write_text(json.dumps({'shards': shards}, indent=1))
    return shards


def _write_shard(file: Path, paths: Sequence[str], first: int) -> list[tuple[int, int]]:
    """Write a tar file; return first byte and bytes of each image in it."""
    places = []
    with tarfile.open(file, 'w', format=tarfile.USTAR_FORMAT) as tar:
        for number, path in enumerate(paths, first):
            content = Path(path).read_bytes()
            entry = tarfile.TarInfo(f'{number:09d}{Path(path).suffix.lower()}')
            entry.size = len(content)
            places.append((tar.offset + HEADER, entry.size))
            tar.addfile(entry, io.BytesIO(content))
    return places
