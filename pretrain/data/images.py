"""Image files of any common format -> RGB arrays."""

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
    """List the image files under one or several directories, at any depth and in a fixed order; follow links.

    Each file is listed once, even if several links or directories lead to it. Warnings tell which entries are skipped.

    Args:
        roots: a directory, or several.
        keep: see `list_images`.

    Returns:
        sorted paths per directory, the directories in the order given.

    Raises:
        ValueError: a directory does not exist, or holds no image that is not already in an earlier one.
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
    """List images to pretrain on, like `find_images`, but skip validation, test and mask folders at any depth.

    A directory that is itself in ``roots`` is used whatever its name is.
    """
    return find_images(roots, training_folders)


def jpeg_size(data: bytes, name: str) -> tuple[int, int] | None:
    """Displayed size (H, W) of a JPEG, turned as EXIF says, read from its header alone.

    Args:
        data: bytes of the file.
        name: for messages.

    Returns:
        the size, or None if `decode_reduced` cannot be used: the file is no JPEG, or is CMYK, or is turned and has
        sides that are no multiple of 8. In the last case the remainder would lie at the side from which reduced pixels
        are counted.

    Raises:
        ValueError: the file cannot be read.
    """
    header = checked_header(data, name)
    if header is None or header.kind != 'JPEG' or header.mode not in ('L', 'RGB'):
        return None
    uneven = any(side % MOST_REDUCED for side in header.stored)
    return None if header.turn != 1 and uneven else header.size
