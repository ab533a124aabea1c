"""Image files without decoding them: size as seen, and whether they are whole."""

import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

ORIENTATION = 0x0112
# EXIF orientations that turn an image by a quarter.
QUARTER_TURNS = (5, 6, 7, 8)
# What whole files of a format hold near their end.
ENDS = {'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9', 'PNG': b'IEND'}
TAIL_BYTES = 1024


class BrokenImageError(ValueError):
    """A file that is no image, or not a whole one."""


def size_as_seen(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height in pixels as OpenCV reads an image, turned as EXIF says.

    Only the header is read, and the end of the file: where the mark of the end is missing, all of it.

    Raises:
        BrokenImageError: the file is empty, cut off or no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            if image.format in ENDS and ENDS[image.format] not in _tail(path):
                image.load()
            turned = _orientation(image) in QUARTER_TURNS
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return _decoded_size(path)
    return (height, width) if turned else (width, height)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation that comes before the pixels, 1 where there is none; OpenCV leaves TIFF's aside."""
    data = image.info.get('exif')
    if not data or image.format == 'TIFF':
        return 1
    exif = Image.Exif()
    exif.load(data)
    return exif.get(ORIENTATION, 1)


def _tail(path: str | os.PathLike[str]) -> bytes:
    with open(path, 'rb') as file:
        file.seek(max(0, os.path.getsize(path) - TAIL_BYTES))
        return file.read()


def _decoded_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Size of an image that Pillow does not read; OpenCV decodes the training images."""
    data = np.frombuffer(Path(path).read_bytes(), np.uint8) if os.path.isfile(path) else np.empty(0, np.uint8)
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise BrokenImageError(f'{path} cannot be decoded: it is empty, cut off or not an image')
    return pixels.shape[1], pixels.shape[0]
