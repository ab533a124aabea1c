"""Decode image files of any usual kind to RGB as seen; incomplete files are refused."""

import io
import os
import warnings

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

from backbones.data.images.header import BROKEN, Header, read_header
from backbones.data.images.listing import is_regular, shown

# Most pixels to decode, 0.8 GB as RGB, since a small file can claim any size.
MOST_PIXELS = 2**28
# Factors by which OpenCV can divide the sides of a JPEG while decoding.
REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
# A 16-bit image whose values all fit into this many bits was recorded with fewer bits than it is stored with.
NARROW_BITS = 14
# Last bytes of a complete file.
ENDS = {'JPEG': b'\xff\xd9', 'PNG': b'IEND\xaeB`\x82'}
Range = tuple[float, float]


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a file.

    Raises:
        ValueError: the file does not exist or cannot be read; the message names it.
    """
    try:
        if not is_regular(path):
            kind = 'directory' if os.path.isdir(path) else 'pipe, socket or device'
            raise ValueError(f'{shown(path)} cannot be read: it is a {kind}, not an image file')
        with open(path, 'rb') as file:
            return file.read()
    except FileNotFoundError as error:
        raise ValueError(f'{shown(path)} cannot be read: there is no such file') from error
    except OSError as error:
        raise ValueError(f'{shown(path)} cannot be read: {error.strerror}') from error


def read_image(path: str | os.PathLike[str], value_range: Range | None = None) -> np.ndarray:
    """Read an image file; see `decode`."""
    return decode(read_bytes(path), shown(path), value_range)


def decode(data: bytes, name: str, value_range: Range | None = None) -> np.ndarray:
    """Decode an image as seen: turned as EXIF says, alpha dropped, grey repeated, 16 bit scaled to 8.

    Alpha is dropped, not blended, as in torchvision's loaders, so hidden colours show.

    Args:
        data: bytes of a jpg, png, webp, tif or bmp file.
        name: name for messages.
        value_range: values of a 16-bit image that become 0 and 255; None takes 0 and 65535.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        ValueError: the image cannot be read; the message names it and says why.
    """
    header = checked_header(data, name)
    if header is not None and header.stored[0] * header.stored[1] > MOST_PIXELS:
        height, width = header.stored
        raise ValueError(f'{name} cannot be read: {height} x {width} pixels are too many, cut it into tiles')
    try:
        if header is not None and header.kind == 'TIFF' and (header.mode == 'LAB' or header.turn != 1 or _rgba(header)):
            return _by_pillow(data, value_range)
        deep = header is not None and header.bits == 16
        pixels = _open(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH if deep else cv2.IMREAD_COLOR)
    except (*BROKEN, Image.DecompressionBombError, ImageCms.PyCMSError) as error:
        raise ValueError(f'{name} cannot be read: {error}') from error
    if pixels is None:
        raise ValueError(f'{name} cannot be decoded: it is empty, cut short, broken or not an image')
    return to_eight_bits(pixels, value_range) if pixels.dtype == np.uint16 else pixels


def decode_reduced(data: bytes, factor: int) -> np.ndarray | None:
    """Decode a JPEG as seen at 1 / ``factor`` of its size; each pixel is about a mean over factor x factor pixels.

    Args:
        data: bytes of a file whose header has passed `checked_header`.
        factor: a key of `REDUCED`.

    Returns:
        uint8 RGB (ceil(H / factor), ceil(W / factor), 3); None if the file is broken.
    """
    try:
        return _open(data, REDUCED[factor])
    except ValueError:
        return None


def checked_header(data: bytes, name: str) -> Header | None:
    """Read the header, and refuse a file that it shows cannot be decoded.

    Raises:
        ValueError: the message names the file and says why.
    """
    try:
        header = read_header(io.BytesIO(data))
        fault = header and header_fault(header)
    except ValueError as error:
        fault = str(error)
    if fault:
        raise ValueError(f'{name} cannot be read: {fault}')
    if header is not None and header.kind == 'JPEG' and not jpeg_ends(data):
        raise ValueError(f'{name} cannot be decoded: it is cut short')
    return header


def header_fault(header: Header) -> str | None:
    """Why an image cannot be read in colour; None if it can."""
    if header.bands > 4:
        return f'it has {header.bands} bands, and 1, 3 or 4 can be read'
    if header.mode == 'F' or header.bits > 16:
        return f'{header.bits}-bit pixels have no known range, store 8 or 16 bit'
    return None


def jpeg_ends(data: bytes) -> bool:
    """Whether a JPEG reaches its end marker; bytes may follow it, and a thumbnail's end marker does not count."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        if data[place + 1] == 0xDA:  # pixel data start, which cannot contain the end marker
            return data.find(b'\xff\xd9', place) >= 0
        alone = data[place + 1] in (0x01, 0xFF) or 0xD0 <= data[place + 1] <= 0xD7
        fill = data[place + 1] == 0xFF
        place += 1 if fill else 2 if alone else 2 + int.from_bytes(data[place + 2 : place + 4], 'big')
    return False


def is_cut(path: str | os.PathLike[str], header: Header) -> bool:
    """Whether a JPEG, PNG or WebP file lacks its end; always False for other kinds, which do not mark their end.

    Raises:
        ValueError: the file cannot be read.
    """
    if header.kind == 'WEBP':
        with open(path, 'rb') as file:
            return int.from_bytes(file.read(8)[4:], 'little') + 8 > os.stat(path).st_size
    if header.kind not in ENDS:
        return False
    with open(path, 'rb') as file:
        file.seek(-min(len(ENDS[header.kind]), os.stat(path).st_size), os.SEEK_END)
        if file.read() == ENDS[header.kind]:
            return False
    # Other bytes may follow the end.
    data = read_bytes(path)
    return not jpeg_ends(data) if header.kind == 'JPEG' else ENDS['PNG'] not in data


def to_eight_bits(pixels: np.ndarray, value_range: Range | None) -> np.ndarray:
    """Scale uint16 values to uint8; see `decode`."""
    if value_range is not None:
        low, high = value_range
        return (255 * ((pixels.astype(np.float32) - low) / (high - low)).clip(0, 1)).round().astype(np.uint8)
    brightest = int(pixels.max())
    bits = brightest.bit_length()
    if 0 < bits <= NARROW_BITS:
        warnings.warn(
            f'a 16-bit image holds values of {bits} bits only: 0 to {2**bits - 1} of 65535, which become 0 to '
            f'{(2**bits - 1) // 256} of 255. Give value_range=(0, {2**bits - 1}) to use the whole range',
            stacklevel=2,
        )
    return (pixels >> 8).astype(np.uint8)


def _open(data: bytes, flags: int) -> np.ndarray | None:
    """Decode with OpenCV from memory, where it refuses files that are cut short."""
    if not data:
        return None
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(' '.join(str(error).split())) from error
    return None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def _rgba(header: Header) -> bool:
    """Whether OpenCV would multiply colours by alpha, as it does in 8-bit TIFFs."""
    return header.bands == 4 and header.bits == 8 and header.mode != 'CMYK'


def _by_pillow(data: bytes, value_range: Range | None) -> np.ndarray:
    """Read a TIFF that OpenCV gets wrong: turned, with alpha, or in CIELAB."""
    with Image.open(io.BytesIO(data), formats=['TIFF']) as image:
        seen = ImageOps.exif_transpose(image)
        if seen.mode.startswith('I;16'):
            return np.repeat(to_eight_bits(np.array(seen), value_range)[..., None], 3, axis=2)
        if seen.mode == 'LAB':
            lab, rgb = ImageCms.createProfile('LAB'), ImageCms.createProfile('sRGB')
            return np.array(ImageCms.applyTransform(seen, ImageCms.buildTransform(lab, rgb, 'LAB', 'RGB')))
        return np.array(seen.convert('RGB'))
