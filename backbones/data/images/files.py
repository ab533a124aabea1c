"""Find an image file's size as seen, and whether it is complete, without decoding it."""

import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

ORIENTATION = 0x0112
# EXIF orientations that turn an image by 90 degrees.
QUARTER_TURNS = (5, 6, 7, 8)
# Bytes near the end of a complete file, by format.
ENDS = {'JPEG': b'\xff\xd9', 'MPO': b'\xff\xd9', 'PNG': b'IEND'}
TAIL_BYTES = 1024


class BrokenImageError(ValueError):
    """A file is not an image, or not a complete one."""


def size_as_seen(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height in pixels of an image as OpenCV reads it, turned as EXIF says.

    This reads only the header and the end of the file, or the whole file if the end marker is missing.

    Raises:
        BrokenImageError: the file is empty, cut off or not an image.
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
    """EXIF orientation stored before the pixels, 1 if there is none; OpenCV ignores TIFF's."""
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
    """Size of an image that Pillow cannot read, by OpenCV, which decodes the training images."""
    data = np.frombuffer(Path(path).read_bytes(), np.uint8) if os.path.isfile(path) else np.empty(0, np.uint8)
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise BrokenImageError(f'{path} cannot be decoded: it is empty, cut off or not an image')
    return pixels.shape[1], pixels.shape[0]
