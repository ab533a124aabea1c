"""Image files of any usual kind -> RGB arrays."""

import os
import struct
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.tif', '.tiff')
# What libjpeg can divide the sides by while it decodes.
REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
MOST_REDUCED = max(REDUCED)
# Values of EXIF's orientation that swap height and width.
SIDEWAYS = (5, 6, 7, 8)


def find_images(roots: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    """List the image files under one or several directories, at any depth, links followed, in a fixed order.

    Args:
        roots: a directory, or several.

    Returns:
        sorted paths per directory, the directories in the order given.

    Raises:
        ValueError: a directory does not exist, or holds no image.
    """
    found = []
    for root in [roots] if isinstance(roots, str | os.PathLike) else roots:
        folder = os.fspath(root)
        if not os.path.isdir(folder):
            raise ValueError(
                f'no directory {folder!r} with images: point to one with `--data-root DIR` '
                '(or train_dataloader.dataset.data_root)'
            )
        walk = os.walk(folder, followlinks=True)
        images = sorted(
            os.path.join(place, file)
            for place, _, files in walk
            for file in files
            if file.lower().endswith(IMAGE_SUFFIXES) and not file.startswith('.')
        )
        if not images:
            raise ValueError(f'no image in {folder!r}: looked at any depth for {", ".join(IMAGE_SUFFIXES)}')
        found += images
    return found


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image file as seen: turned as EXIF says, alpha dropped, grey repeated, 16 bit scaled to 8.

    Alpha is dropped, not blended, as torchvision's loaders do: hidden colours show.

    Args:
        path: jpg, png, webp or tif.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        ValueError: the file cannot be read; names it and says why.
    """
    path = os.fspath(path)
    try:
        pixels = _read_tiff(path) if path.lower().endswith(('.tif', '.tiff')) else _read(path)
    except (OSError, cv2.error) as error:
        raise ValueError(f'{path} cannot be read: {error}') from error
    if pixels is None:
        raise ValueError(f'{path} cannot be decoded: it is empty, broken or not an image')
    return pixels


def _read(path: str) -> np.ndarray | None:
    pixels = cv2.imread(path, cv2.IMREAD_COLOR)
    return None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def _read_tiff(path: str) -> np.ndarray | None:
    """Read a TIFF; OpenCV multiplies colours by alpha in it and fails on turned ones, so these go through Pillow."""
    with Image.open(path) as image:
        if image.mode in ('I', 'F'):
            raise OSError('32-bit pixels have no known range, store 8 or 16 bit')
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        if image.mode == 'RGBA' or turned:
            return np.array(ImageOps.exif_transpose(image).convert('RGB'))
    return _read(path)


def jpeg_size(path: str) -> tuple[int, int] | None:
    """Size (H, W) of a JPEG as seen, turned as EXIF says, from its header alone.

    Returns:
        None where `read_reduced` has no use: no JPEG, or CMYK; or turned, with sides that are no multiple of 8: what
        is left over would lie at the side that reduced pixels are counted from.
    """
    try:
        with Image.open(path, formats=['JPEG']) as image:
            exif = Image.Exif()
            exif.load(image.info.get('exif', b''))
            turn = exif.get(ExifTags.Base.Orientation, 1)
            mode, (width, height) = image.mode, image.size
    except (OSError, SyntaxError, ValueError, struct.error):
        return None
    if mode not in ('L', 'RGB') or (turn != 1 and (height % MOST_REDUCED or width % MOST_REDUCED)):
        return None
    return (width, height) if turn in SIDEWAYS else (height, width)


def read_reduced(path: str, factor: int) -> np.ndarray | None:
    """Decode a JPEG at 1 / ``factor`` of its size, each pixel about a mean over factor x factor pixels, as seen.

    Args:
        path: the file.
        factor: a key of `REDUCED`.

    Returns:
        uint8 RGB (ceil(H / factor), ceil(W / factor), 3); None where it is broken.
    """
    pixels = cv2.imread(path, REDUCED[factor])
    return None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
