"""Directory layout of classified images: one folder per class, as in ImageNet."""

import os
from dataclasses import dataclass
from pathlib import Path

from backbones.data.coco.layout import COCO_SPLITS
from backbones.data.images.listing import IMAGE_SUFFIXES, is_image


@dataclass(frozen=True)
class FolderPart:
    """One part of a data set with a folder per class; ``classes`` are sorted, and label n is ``classes[n]``."""

    images: Path
    classes: tuple[str, ...]

    @property
    def source(self) -> Path:
        """Where the classes come from."""
        return self.images


def part_folders(root: Path) -> dict[str, Path]:
    """Folders of the parts ('train', 'val') below ``root``, if they contain folders themselves."""
    found = {}
    for part, names in COCO_SPLITS.items():
        folders = [root / name for name in names if (root / name).is_dir()]
        chosen = next((folder for folder in folders if _subfolders(folder)), None)
        if chosen is not None:
            found[part] = chosen
    return found


def find_folders(root: Path) -> dict[str, FolderPart]:
    """Find the parts ('train', 'val') of a data set with a folder per class; empty if ``root`` has no such layout.

    Raises:
        ValueError: see `class_folders`; or a part's folder holds images but no class folders.
    """
    for names in COCO_SPLITS.values():
        for folder in (root / name for name in names):
            if folder.is_dir() and not _subfolders(folder) and _holds_image(folder):
                class_folders(folder)
    return {part: FolderPart(folder, class_folders(folder)) for part, folder in part_folders(root).items()}


def class_folders(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """List the classes of a folder with one folder per class, sorted by name, without hidden ones.

    Raises:
        ValueError: the folder does not exist, it has fewer than two class folders, or one of them has no images.
    """
    place = Path(folder)
    if not place.is_dir():
        raise ValueError(f'no directory {str(place)!r} with a folder per class: point to one with `--data-root DIR`')
    names = _subfolders(place)
    if not names:
        raise ValueError(f'{place} has no folder per class: move the images of class NAME to {place / "NAME"}')
    empty = [name for name in names if not _holds_image(place / name)]
    if empty:
        raise ValueError(
            f'{len(empty)} of {len(names)} class folders in {place} hold no image: {", ".join(empty[:5])}. '
            f'Remove them, or fill them with {", ".join(IMAGE_SUFFIXES)}'
        )
    if len(names) == 1:
        raise ValueError(f'{place} has one class only, {names[0]}: to tell classes apart takes two or more')
    return tuple(names)


def _subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith('.'))


def _holds_image(folder: Path) -> bool:
    return any(is_image(file) for _, _, files in os.walk(folder, followlinks=True) for file in files)
