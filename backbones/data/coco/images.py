"""Check the images that a COCO annotation file lists: found on disk, readable, of the stated size."""

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backbones.data.coco.findings import Findings, examples
from backbones.data.images.files import BrokenImageError, size_as_seen

# Number of headers to read, evenly spread, if the file gives all sizes.
HEADERS = 5000


class Listing:
    """File names below a folder; each directory is listed only once, which saves a file-system call per file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, dict[str, str]] = {}

    def find(self, name: str) -> str | None:
        """Name of a file below the folder: as given, read as a Windows path, or by its last part."""
        plain = name.replace('\\', '/')
        for candidate in dict.fromkeys((name, plain, plain.rpartition('/')[2])):
            directory, _, file = candidate.rpartition('/')
            if '/' in candidate and not directory:
                directory = '/'
            known = self._names(directory)
            here = known.get(file) or known.get(_alike(file))
            if file and here is not None:
                return candidate if here == file else os.path.join(directory, here)
        return None

    def _names(self, directory: str) -> dict[str, str]:
        """File names of a directory, keyed by themselves and by their form for comparison."""
        if directory not in self.names:
            try:
                found = [entry.name for entry in os.scandir(self.folder / directory) if not entry.is_dir()]
            except OSError:
                found = []
            self.names[directory] = {_alike(name): name for name in found} | {name: name for name in found}
        return self.names[directory]


def _alike(name: str) -> str:
    """Form of a file name for comparison: Windows ignores case, and macOS writes accents as separate letters."""
    return unicodedata.normalize('NFC', name).lower()


def find_images(
    images: list[dict[str, Any]], folders: Sequence[Path], findings: Findings
) -> tuple[Path, list[dict[str, Any]]]:
    """Choose the folder that holds the images, and correct their file names below it.

    Returns:
        the folder, and the images in it that have an id; the others are a fault.
    """
    named = [image for image in images if isinstance(image.get('file_name'), str) and image['file_name'].strip()]
    total = f'{len(images)} images'
    findings.fault(len(images) - len(named), total, 'have no file_name')
    located = {folder: _located(named, folder) for folder in folders}
    folder = max(located, key=lambda each: len(named) - located[each].count(None))
    lost = [image['file_name'] for image, name in zip(named, located[folder], strict=True) if name is None]
    places = folders if len(lost) == len(named) else [folder]
    findings.fault(len(lost), total, f'are not in {" or ".join(map(str, places))}: {examples(lost)}')
    found = [(image, name) for image, name in zip(named, located[folder], strict=True) if name is not None]
    other = [f'{image["file_name"]} as {name}' for image, name in found if name != image['file_name']]
    findings.corrected(len(other), total, f'are found under another name: {examples(other)}')
    for image, name in found:
        image['file_name'] = name
    twice = [name for name, count in Counter(name for _, name in found).items() if count > 1]
    findings.fault(len(twice), total, f'are listed more than once: {examples(twice)}')
    return folder, [image for image, _ in found if type(image.get('id')) is int]


def _located(images: list[dict[str, Any]], folder: Path) -> list[str | None]:
    listing = Listing(folder)
    return [listing.find(image['file_name']) for image in images]


def read_sizes(
    images: list[dict[str, Any]], folder: Path, findings: Findings
) -> dict[int, tuple[dict[str, Any], tuple[int, int]]]:
    """Compare the sizes in the file with those of the images, and fill in missing ones.

    Returns:
        id -> image whose size differs from the file's, with its width and height as seen.
    """
    total = f'{len(images)} images'
    lacking = [image for image in images if not has_size(image)]
    step = max(1, -(-len(images) // HEADERS))
    looked_at = {id(image): image for image in (*images[::step], *lacking)}
    broken, other, filled = [], {}, 0
    for image in looked_at.values():
        try:
            seen = size_as_seen(folder / image['file_name'])
        except BrokenImageError:
            broken.append(image['file_name'])
            continue
        if not has_size(image):
            image['width'], image['height'] = seen
            filled += 1
        elif seen != (image['width'], image['height']):
            other[image['id']] = (image, seen)
    findings.fault(len(broken), total, f'cannot be decoded (empty, cut off or no image): {examples(broken)}')
    findings.corrected(filled, total, 'have no width and height: taken from the image files')
    if step > 1:
        findings.note(len(looked_at), total, 'looked at for broken files and wrong sizes, evenly spread')
    return other


def has_size(image: dict[str, Any]) -> bool:
    """Whether width and height are whole numbers above 0; mmdet compares boxes with them."""
    sizes = (image.get('width'), image.get('height'))
    return all(type(value) is int and value > 0 for value in sizes)
