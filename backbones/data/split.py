"""Which directories of a data set hold images to train on, told by their names, in whatever layout."""

import os
import re
from pathlib import Path

from backbones.data.images.listing import is_image

TRAIN = {'train', 'training', 'trainval', 'tr'}
HELD_OUT = {'val', 'valid', 'validation', 'test', 'testing', 'eval', 'evaluation', 'dev', 'holdout', 'ts'}
IMAGES = {'images', 'image', 'imgs', 'img', 'imgdir', 'jpegimages', 'leftimgbit', 'rgb'}
# Beside images these hold labels; masks are images too, but none to train on.
LABELS = {'annotations', 'annotation', 'anndir', 'masks', 'mask', 'labels', 'label', 'gt', 'gtfine', 'groundtruth'} | {
    'segmentationclass',
    'segmentationobject',
}


def training_folders(names: list[str]) -> list[str]:
    """Choose of the directories in a directory those to train on.

    Where training directories lie beside validation or test directories, the training ones alone; where images lie
    beside masks, the images alone; else all but those for validation and test. Names may hold more: ``train2017``,
    ``images_val``, ``testA``. Directories such as ``bullet train`` and ``test tube`` are no parts of one set.
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
    # Beside images of any other name, such as unlabeled2017, those for test stay out too.
    plain = {''.join(_words(name)) for name in names if _without(name, HELD_OUT) is None}
    others = [name for name in names if (rest := _without(name, HELD_OUT)) is None or (rest and rest not in plain)]
    return others if plain - LABELS else list(names)


def training_root(root: Path) -> Path:
    """Directory below ``root`` that holds all images to train on, ``root`` itself where they lie in several.

    Raises:
        ValueError: there is no such directory, or it holds images for validation and test only, which must stay
            unseen until then.
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
    """The words of a name without those of a part; None where it names no such part."""
    words = _words(name)
    rest = [word for word in words if word not in parts]
    return ''.join(rest) if len(rest) < len(words) else None


def _words(name: str) -> list[str]:
    """Words of a name in lower case: of ``testA``, ``images_val`` and ``train2017`` without the number."""
    return [word.lower() for word in re.findall(r'[A-Z]?[a-z]+|[A-Z]+(?![a-z])', name)]
