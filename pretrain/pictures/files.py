"""Picture files of a command: checked before the work starts, written at its end."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def check_files(images: Sequence[str | Path], out: str | Path) -> None:
    """Refuse images that do not exist, and a picture that cannot be written.

    Raises:
        ValueError: names the file.
    """
    for image in map(Path, images):
        if image.is_dir():
            raise ValueError(f'{image} is a directory: give image files')
        if not image.is_file():
            raise ValueError(f'{image}: there is no such file')
    out = Path(out)
    if out.is_dir():
        raise ValueError(f'{out} is a directory: give the name of a picture in it')
    if not out.suffix or not cv2.haveImageWriter(str(out)):
        raise ValueError(f'{out} cannot be written: its name has to end in .png, .jpg or another kind of picture')
    if not out.absolute().parent.is_dir():
        raise ValueError(f'{out} cannot be written: there is no folder {out.parent}')


def write_picture(out: str | Path, rows: np.ndarray) -> None:
    """Write a picture (H, W, 3), RGB.

    Raises:
        ValueError: it cannot be written.
    """
    if not cv2.imwrite(str(out), cv2.cvtColor(rows, cv2.COLOR_RGB2BGR)):
        raise ValueError(f'{out} cannot be written: is its folder open to you, and the disk not full?')
