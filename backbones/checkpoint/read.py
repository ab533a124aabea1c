"""Read checkpoint files from disk: weights only, never code."""

import argparse
import re
import zipfile
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file

from backbones.checkpoint.archives import ArchiveError, check_archive
from backbones.checkpoint.hub import find_published
from backbones.checkpoint.pickles import LOG, RefusedError, read_array_pickle

# First bytes of other files that carry a checkpoint's name, for instance after a failed download or a bare clone.
IMPOSTORS = (
    (b'version https://git-lfs', 'it is a Git LFS pointer: fetch the file itself with `git lfs pull`'),
    (b'<', 'it is a web page, not weights: download the file again'),
    (b'{', 'it is JSON, not weights; give the weights themselves (parts that an index lists have to be joined first)'),
    (b'\x1f\x8b', 'it is compressed with gzip: unpack it'),
    (b'\x89HDF', 'it is a file of Keras or HDF5: convert it to PyTorch first'),
)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a ``.pth``, ``.safetensors`` or ``.pkl`` (arrays) file on the CPU without running anything in it.

    Tensors are memory-mapped if the file allows it. An `argparse.Namespace` is allowed, since the official MAE code
    saves its arguments in one and it only holds values; mmengine's log is skipped; anything else that a pickle asks
    for is refused.

    Args:
        path: local file, or a published name (see `backbones.checkpoint.hub.find_published`).

    Returns:
        the file's top-level dict.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, is no checkpoint, or asks for code; the message says in one line which.
    """
    path = _local_file(path)
    content = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    if not isinstance(content, dict):
        raise ValueError(
            f'{path} holds a {type(content).__name__}, not a dict of weights: save model.state_dict() instead'
        )
    return content


def _local_file(path: str | Path) -> Path:
    path = find_published(str(path)) or Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f'there is no checkpoint {path}')
    if not path.is_file():
        raise ValueError(f'{path} is not a file: give the path of the checkpoint in it')
    return path


def _is_safetensors(path: Path) -> bool:
    """Decide by the name, as PyTorch does, or by the content, since files get renamed."""
    with path.open('rb') as file:
        return path.suffix == '.safetensors' or file.read(10)[8:] == b'{"'


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        return load_file(path, device='cpu')
    except safetensors.SafetensorError as error:
        renamed = 'it is a PyTorch file: give it the suffix .pth' if zipfile.is_zipfile(path) else None
        raise ValueError(f'{path} cannot be read: {renamed or _disguise(path) or error}') from error


def _read_pickle(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):
            check_archive(path)
            return _read_torch(path, mapped=True)
        return read_array_pickle(path) if path.suffix == '.pkl' else _read_torch(path, mapped=False)
    except OSError as error:
        if error.filename is not None:
            raise
        raise ValueError(f'{path} cannot be read: it is damaged or cut short') from error  # a seek beyond its end
    # Damaged bytes are read as pickle instructions, so any exception is possible.
    except Exception as error:
        raise ValueError(f'{path} cannot be read: {_reason(path, error)}') from error


def _read_torch(path: Path, mapped: bool) -> Any:
    log = [(inert, name) for name, inert in LOG.items()]
    with torch.serialization.safe_globals([argparse.Namespace, *log]):
        return torch.load(path, map_location='cpu', weights_only=True, mmap=mapped)


def _reason(path: Path, error: Exception) -> str:
    wanted = re.search(r'(?:GLOBAL|unrecognized function|Unsupported class) ([\w.]*\w)', str(error))
    name = str(error) if isinstance(error, RefusedError) else wanted and wanted.group(1)
    if name:
        return (
            f'its pickle asks for {name}, and weights need no code, so it is refused; '
            'save model.state_dict() with the code that wrote the file, where you trust it'
        )
    if isinstance(error, ArchiveError):
        return str(error)
    return _disguise(path) or 'it is damaged, cut short or not a PyTorch file'


def _disguise(path: Path) -> str | None:
    """Say what the file really is, if its first bytes show it."""
    with path.open('rb') as file:
        head = file.read(64).lstrip()
    if not head:
        return 'it is empty'
    return next((meaning for start, meaning in IMPOSTORS if head.startswith(start)), None)
