"""Read an image file's kind, size, channels and depth from its first bytes, without decoding it."""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from PIL import (
    BmpImagePlugin,
    ExifTags,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from backbones.data.images.listing import is_regular, shown

# Pillow's readers by a file's first bytes. They are called directly, since Image.open refuses large images.
READERS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b'\xff\xd8\xff', JpegImagePlugin.JpegImageFile),
    (b'\x89PNG\r\n\x1a\n', PngImagePlugin.PngImageFile),
    (b'RIFF', WebPImagePlugin.WebPImageFile),
    (b'BM', BmpImagePlugin.BmpImageFile),
)
TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
BROKEN = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError, struct.error)
# Values of EXIF's orientation that swap height and width.
SIDEWAYS = (5, 6, 7, 8)
# Tags of TIFF.
PHOTOMETRIC, FORMAT = 262, 339
MODES = {5: 'CMYK', 8: 'LAB'}
FLOAT = 3


@dataclass(frozen=True)
class Header:
    """Properties that a file's header tells.

    Attributes:
        kind: 'JPEG', 'PNG', 'WEBP', 'BMP' or 'TIFF'.
        stored: (height, width) of the pixels in the file.
        turn: EXIF's orientation, 1 for none.
        bands: number of channels with alpha; a palette counts as one.
        bits: bits of one value.
        mode: Pillow's name of the pixel type; for a TIFF 'CMYK', 'LAB', 'F' or ''.
    """

    kind: str
    stored: tuple[int, int]
    turn: int
    bands: int
    bits: int
    mode: str

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image as seen, turned as EXIF says."""
        return self.stored[::-1] if self.turn in SIDEWAYS else self.stored


def read_header(file: BinaryIO) -> Header | None:
    """Read the header of an open file; None for an unknown kind.

    Raises:
        ValueError: the header is broken.
    """
    start = file.read(16)
    file.seek(0)
    try:
        if start.startswith(TIFF):
            return _tiff_header(file)
        for first, reader in READERS:
            if start.startswith(first):
                return _header(reader(file))
    except BROKEN as error:
        raise ValueError(f'its header is broken ({error})') from error
    return None


def file_header(path: str) -> Header | None:
    """Read the header of a file.

    Raises:
        ValueError: the file cannot be read; the message names it.
    """
    try:
        if not is_regular(path):
            raise ValueError('it is no file')
        with open(path, 'rb') as file:
            return read_header(file)
    except OSError as error:
        raise ValueError(f'{shown(path)} cannot be read: {error.strerror}') from error
    except ValueError as error:
        raise ValueError(f'{shown(path)} cannot be read: {error}') from error


def _header(image: ImageFile.ImageFile) -> Header:
    exif = Image.Exif()
    try:
        exif.load(image.info.get('exif', b''))
        turn = exif.get(ExifTags.Base.Orientation, 1)
    except BROKEN:  # the image itself may still be intact
        turn = 1
    bits = 1 if image.mode == '1' else 16 if image.mode.startswith('I') else 8
    if isinstance(image, PngImagePlugin.PngImageFile):
        bits = _png_bits(image)
    return Header(image.format or '', (image.height, image.width), turn, len(image.getbands()), bits, image.mode)


def _png_bits(image: PngImagePlugin.PngImageFile) -> int:
    """Bits of one value, read here because Pillow reports 16-bit colours as 8-bit."""
    assert image.fp is not None
    place = image.fp.tell()
    image.fp.seek(24)
    bits = image.fp.read(1)[0]
    image.fp.seek(place)
    return bits


def _tiff_header(file: BinaryIO) -> Header:
    """Read the tags directly, as Pillow has no mode for five bands."""
    first = file.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(first + file.read(8) if first[2] == 43 else first)
    file.seek(tags.next)
    tags.load(file)
    bits, form = (tags.get(key, (1,)) for key in (TiffImagePlugin.BITSPERSAMPLE, FORMAT))
    mode = 'F' if _first(form) == FLOAT else MODES.get(tags.get(PHOTOMETRIC, 0), '')
    return Header(
        kind='TIFF',
        stored=(tags[TiffImagePlugin.IMAGELENGTH], tags[TiffImagePlugin.IMAGEWIDTH]),
        turn=tags.get(ExifTags.Base.Orientation, 1),
        bands=tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1),
        bits=_first(bits),
        mode=mode,
    )


def _first(value: int | tuple[int, ...]) -> int:
    return value[0] if isinstance(value, tuple) else value
