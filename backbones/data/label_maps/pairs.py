"""Pair images with their label maps, and check that each pair fits."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from backbones.data.images.header import Header, file_header
from backbones.data.images.listing import IMAGE_SUFFIXES, list_images
from backbones.data.images.read import MOST_PIXELS, header_fault, is_cut

# JPEG would change labels.
MASK_SUFFIXES = ('.png', '.tif', '.tiff', '.bmp')
THREADS = 8


@dataclass(frozen=True)
class Pairs:
    """Images with their masks.

    Attributes:
        images: the images, in the order of their paths.
        masks: the mask of each image.
        notes: what is odd, one line each.
    """

    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    notes: tuple[str, ...]

    @property
    def image_suffixes(self) -> list[str]:
        """Suffixes of the images, as they are written."""
        return sorted({path.suffix for path in self.images})

    @property
    def mask_suffixes(self) -> list[str]:
        """Suffixes of the masks, as they are written."""
        return sorted({path.suffix for path in self.masks})


def find_pairs(images: Path, masks: Path) -> Pairs:
    """Pair images and masks (see `pair_files`), and check that they fit.

    Raises:
        ValueError: there are no images, images have no mask, or a pair does not fit (see `pair_fault`).
    """
    pairs, unused = pair_files(images, masks)
    with ThreadPoolExecutor(THREADS) as pool:
        faults = [fault for fault in pool.map(lambda pair: pair_fault(*pair), pairs) if fault]
    if faults:
        more = f'; and {len(faults) - 1} more of {len(pairs)} pairs, such as {faults[-1]}' if len(faults) > 1 else ''
        raise ValueError(faults[0] + more)
    notes = [f'{len(unused)} masks in {masks} have no image and are left out: {unused[0].name}'] if unused else []
    return Pairs(tuple(image for image, _ in pairs), tuple(mask for _, mask in pairs), tuple(notes))


def pair_files(images: Path, masks: Path) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Pair images and masks that have the same path below their directories, apart from the suffix.

    Returns:
        the pairs, in the order of the images' paths, and the masks without image.

    Raises:
        ValueError: there are no images, images have no mask, or two files differ only in their suffix.
    """
    files = [Path(path) for path in list_images([str(images)]).images]
    kept = [path for path in map(Path, list_images([str(masks)]).images) if path.suffix.lower() in MASK_SUFFIXES]
    if not files:
        raise ValueError(f'{images} holds no image ({", ".join(IMAGE_SUFFIXES)})')
    names = [path.relative_to(images).with_suffix('') for path in files]
    maps = {path.relative_to(masks).with_suffix(''): path for path in kept}
    _refuse_twins(files, 'images')
    _refuse_twins(kept, 'masks')
    unused = sorted(path for name, path in maps.items() if name not in set(names))
    without = [path for path, name in zip(files, names, strict=True) if name not in maps]
    if without:
        text = f'{len(without)} of {len(files)} images in {images} have no mask in {masks}: {without[0].name}'
        raise ValueError(text + _hint(masks, unused))
    return [(path, maps[name]) for path, name in zip(files, names, strict=True)], unused


def _refuse_twins(files: list[Path], what: str) -> None:
    """Refuse two images for one mask (masks beside the images look like that) and two masks for one image."""
    count = Counter(path.with_suffix('') for path in files)
    twins = [path for path in files if count[path.with_suffix('')] > 1]
    if twins:
        one, other, *_ = (path for path in twins if path.with_suffix('') == twins[0].with_suffix(''))
        raise ValueError(
            f'{len(twins)} of {len(files)} {what} share their name with another ({one}, {other.name}): an image and '
            'its mask are found by their name, so leave one of each (masks beside images are no images)'
        )


def pair_fault(image: Path, mask: Path) -> str | None:
    """Why a pair cannot be used, judged by the headers of both files; None if it can."""
    try:
        picture, labels = file_header(str(image)), file_header(str(mask))
    except ValueError as error:
        return str(error)
    if picture is None or labels is None:
        return f'{image if picture is None else mask} is no image of a kind that is known'
    fault = header_fault(picture)
    if fault is None and picture.stored[0] * picture.stored[1] > MOST_PIXELS:
        fault = f'{picture.stored[0]} x {picture.stored[1]} pixels are too many, cut it into tiles'
    if fault:
        return f'{image} cannot be read: {fault}'
    if labels.bands != 1:
        return f'{mask} is no mask: one channel of labels is needed, it has {labels.bands} (colours are no labels)'
    for path, header in ((image, picture), (mask, labels)):
        if is_cut(path, header):
            return f'{path} is cut short'
    return _size_fault(image, mask, picture, labels)


def _size_fault(image: Path, mask: Path, picture: Header, labels: Header) -> str | None:
    if picture.size == labels.stored:
        return None
    (height, width), (rows, columns) = picture.size, labels.stored
    turned = ' as seen: EXIF turns it, and not the mask' if picture.stored == labels.stored else ''
    return f'{image} has {height} x {width} pixels{turned}, its mask {mask} {rows} x {columns}'


def _hint(masks: Path, unused: list[Path]) -> str:
    """Hint at how the masks are named or stored, if no mask fits."""
    if unused:
        return f'. Masks there are called {unused[0].name}: a mask has the name of its image, and ends in .png'
    jpeg = any(path.suffix.lower() in ('.jpg', '.jpeg') for path in masks.rglob('*'))
    return '. JPEG cannot hold labels, as it changes them: write PNG' if jpeg else ''
