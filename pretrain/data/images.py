"""Image files of any usual kind -> RGB arrays."""

import os
import warnings
from collections.abc import Callable, Sequence

from backbones.data.images.listing import IMAGE_SUFFIXES, list_images, shown
from backbones.data.images.read import REDUCED, checked_header, read_image
from backbones.data.split import training_folders

__all__ = ['IMAGE_SUFFIXES', 'find_images', 'find_training_images', 'jpeg_size', 'read_image']
MOST_REDUCED = max(REDUCED)


def find_images(
    roots: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    keep: Callable[[list[str]], list[str]] | None = None,
) -> list[str]:
    """List the image files under one or several directories, at any depth, links followed, in a fixed order.

    Each file is listed once, whatever links and directories lead to it. What is passed over is told in warnings.

    Args:
        roots: a directory, or several.
        keep: see `list_images`.

    Returns:
        sorted paths per directory, the directories in the order given.

    Raises:
        ValueError: a directory does not exist, or holds no image that another one before it does not hold.
    """
    folders = [os.fspath(root) for root in ([roots] if isinstance(roots, str | os.PathLike) else roots)]
    for folder in folders:
        if not os.path.isdir(folder):
            raise ValueError(
                f'no directory {shown(folder)!r} with images: point to one with `--data-root DIR` '
                '(or train_dataloader.dataset.data_root)'
            )
    listing = list_images(folders, keep)
    for line in listing.notes():
        warnings.warn(f'{", ".join(map(shown, folders))}: {line}', stacklevel=2)
    if listing.empty:
        raise ValueError(
            f'no image in {shown(listing.empty[0])!r}: looked at any depth for {", ".join(IMAGE_SUFFIXES)}'
        )
    return listing.images


def find_training_images(roots: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    """List images to pretrain on: as `find_images`, but not those for validation and test nor masks, at any depth.

    A directory given by itself is taken whatever its name is.
    """
    return find_images(roots, training_folders)


def jpeg_size(data: bytes, name: str) -> tuple[int, int] | None:
    """Size (H, W) of a JPEG as seen, turned as EXIF says, from its header alone.

    Args:
        data: of the file.
        name: for messages.

    Returns:
        None where `decode_reduced` has no use: no JPEG, or CMYK; or turned, with sides that are no multiple of 8: what
        is left over would lie at the side that reduced pixels are counted from.

    Raises:
        ValueError: the file cannot be read.
    """
    header = checked_header(data, name)
    if header is None or header.kind != 'JPEG' or header.mode not in ('L', 'RGB'):
        return None
    uneven = any(side % MOST_REDUCED for side in header.stored)
    return None if header.turn != 1 and uneven else header.size
