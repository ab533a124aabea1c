"""Find the directories of a data set that hold training images, by their names, in any layout."""

import os
import re
from pathlib import Path

from backbones.data.images.listing import is_image

TRAIN = {'train', 'training', 'trainval', 'tr'}
HELD_OUT = {'val', 'valid', 'validation', 'test', 'testing', 'eval', 'evaluation', 'dev', 'holdout', 'ts'}
IMAGES = {'images', 'image', 'imgs', 'img', 'imgdir', 'jpegimages', 'leftimgbit', 'rgb'}
# Beside image directories, these hold labels; masks are image files too, but not for training on.
LABELS = {'annotations', 'annotation', 'anndir', 'masks', 'mask', 'labels', 'label', 'gt', 'gtfine', 'groundtruth'} | {
    'segmentationclass',
    'segmentationobject',
}


def training_folders(names: list[str]) -> list[str]:
    """Choose the directories to train on among those in one directory.

    If training directories lie beside validation or test directories, choose only the training ones; if images lie
    beside masks, only the images; else all but those for validation and test. Names may have additions: ``train2017``,
    ``images_val``, ``testA``. Directories such as ``bullet train`` and ``test tube`` are not parts of one set.
    """
    train = {name: rest for name in names if (rest := _without(name, TRAIN)) is not None}
    held_out = [rest for name in names if name not in train and (rest := _without(name, HELD_OUT)) is not None]
    parts = [name for name, rest in train.items() if any(not rest or not other or rest == other for other in held_out)]
    if parts:
        return parts
    images = [name for name in names if ''.join(_words(name)) in IMAGES]
    labels = [name for name in names if ''.join(_words(name)) in LABELS]
    if images and labels:
        return images
    # Test directories also stay out beside images with another name, such as unlabeled2017.
    plain = {''.join(_words(name)) for name in names if _without(name, HELD_OUT) is None}
    others = [name for name in names if (rest := _without(name, HELD_OUT)) is None or (rest and rest not in plain)]
    return others if plain - LABELS else list(names)


def training_root(root: Path) -> Path:
    """Directory below ``root`` that holds all training images, or ``root`` itself if several do.

    Raises:
        ValueError: ``root`` does not exist, or holds only images for validation and test, which training must not see.
    """
    if not root.is_dir():
        raise ValueError(f'{root}: there is no such directory')
    place = found = root
    for _ in range(8):  # links may form a circle
        names = sorted(entry.name for entry in os.scandir(place) if entry.is_dir() and not entry.name.startswith('.'))
        _refuse_held_out(place, names)
        chosen = training_folders(names)
        if len(chosen) != 1 or (len(names) == 1 and _holds_image(place)):
            break
        place = place / chosen[0]
        found = place if len(names) > 1 else found
    return found


def _refuse_held_out(place: Path, names: list[str]) -> None:
    held_out = [name for name in names if _without(name, HELD_OUT) == '']
    others = [name for name in names if name not in held_out and ''.join(_words(name)) not in LABELS]
    if held_out and not others and not _holds_image(place):
        raise ValueError(
            f'{place} holds only validation images ({", ".join(held_out)}): these are not for pretraining. '
            f'To train on them all the same: --data-root {place / held_out[0]}'
        )


def _holds_image(place: Path) -> bool:
    return any(is_image(name) for name in os.listdir(place))


def _without(name: str, parts: set[str]) -> str | None:
    """Words of a name without those of a part; None if it names no such part."""
    words = _words(name)
    rest = [word for word in words if word not in parts]
    return ''.join(rest) if len(rest) < len(words) else None


def _words(name: str) -> list[str]:
    """Words of a name in lower case; splits ``testA`` and ``images_val``, and drops the number of ``train2017``."""
    return [word.lower() for word in re.findall(r'[A-Z]?[a-z]+|[A-Z]+(?![a-z])', name)]
