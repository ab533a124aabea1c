"""Read label maps of segmentation as mmseg does, and count the labels in them."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from backbones.data.images.header import BROKEN
from backbones.data.images.listing import shown
from backbones.data.images.read import read_bytes

# Always means no class, whichever other labels do.
IGNORED = 255
# Count labels in at most this many pixels, but in at least this many masks.
MOST_COUNTED = 2**28
LEAST_MASKS = 20
THREADS = 8


def read_labels(path: str | Path) -> np.ndarray:
    """Read a label map with Pillow, as mmseg does: palette images give indices, 1 bit 0 and 1, 16 bit the values.

    Returns:
        uint8, uint16 or int32 (H, W).

    Raises:
        ValueError: the map cannot be read, has several channels or no whole numbers; the message names it.
    """
    data = read_bytes(path)
    try:
        with Image.open(io.BytesIO(data)) as image:
            labels = np.array(image)
    except (Image.DecompressionBombError, *BROKEN) as error:
        raise ValueError(f'{shown(path)} cannot be read: {" ".join(str(error).split())}') from error
    if labels.ndim != 2 or labels.dtype.kind == 'f':
        kind = 'decimal numbers' if labels.ndim == 2 else f'{labels.shape[2]} channels (colours are no labels)'
        raise ValueError(f'{shown(path)} is no mask: one channel of whole numbers is needed, it has {kind}')
    return labels.astype(np.uint8) if labels.dtype == bool else labels


@dataclass(frozen=True)
class LabelCounts:
    """Counts of the labels in some masks.

    Attributes:
        pixels: label -> number of pixels with it.
        example: label -> a mask that has it.
        looked_at: number of masks examined.
        masks: number of all masks.
    """

    pixels: dict[int, int]
    example: dict[int, Path]
    looked_at: int
    masks: int

    def share(self, label: int) -> float:
        """Share of the pixels that have this label."""
        return self.pixels.get(label, 0) / max(1, sum(self.pixels.values()))

    @property
    def where(self) -> str:
        """Number and place of the masks examined, for messages."""
        place = next(iter(self.example.values())).parent
        some = '' if self.looked_at == self.masks else f' of {self.masks}'
        return f'{self.looked_at}{some} masks in {place}'


def count_labels(masks: Sequence[Path]) -> LabelCounts:
    """Count the labels in all masks or, beyond `MOST_COUNTED` pixels, in an evenly spread sample.

    Raises:
        ValueError: see `read_labels`.
    """
    size = read_labels(masks[0]).size
    count = min(len(masks), max(LEAST_MASKS, MOST_COUNTED // max(1, size)))
    chosen = [masks[index * len(masks) // count] for index in range(count)]
    pixels: dict[int, int] = {}
    example: dict[int, Path] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for path, found in zip(chosen, pool.map(_histogram, chosen), strict=True):
            for label, number in found.items():
                pixels[label] = pixels.get(label, 0) + number
                example.setdefault(label, path)
    return LabelCounts(pixels, example, len(chosen), len(masks))


def _histogram(path: Path) -> dict[int, int]:
    labels = read_labels(path)
    if labels.dtype == np.uint8:
        counts = np.bincount(labels.ravel(), minlength=256)
        return {label: int(counts[label]) for label in np.flatnonzero(counts).tolist()}
    values, numbers = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), numbers.tolist(), strict=True))
