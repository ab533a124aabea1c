"""Files that PyTorch's own weights-only reader does not judge: plain pickles of arrays, and zip archives' sizes."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

# PyTorch stores tensors uncompressed, so an honest archive declares no more bytes than it has.
MOST_INFLATION = 4


class RefusedError(ValueError):
    """A pickle asks for something that weights do not need; ``args[0]`` names it."""


class ArchiveError(ValueError):
    """A zip archive is none that a checkpoint would be."""


def check_archive(path: Path) -> None:
    """Compare what a zip archive says it holds with what it is, before anything is inflated or read.

    Raises:
        ArchiveError: its declared sizes are out of proportion, it holds no pickle of PyTorch's, or bytes are not those
            that were written, which PyTorch would take as they are.
    """
    with zipfile.ZipFile(path) as archive:
        declared = sum(entry.file_size for entry in archive.infolist())
        size = path.stat().st_size
        if declared > MOST_INFLATION * size:
            raise ArchiveError(f'its {size} bytes claim to hold {declared}, as no checkpoint does; it is not unpacked')
        names = archive.namelist()
        if any(name.endswith('/constants.pkl') for name in names):
            raise ArchiveError('it is a TorchScript program, which is code: save model.state_dict() of it')
        if not any(name.endswith('data.pkl') for name in names):
            raise ArchiveError(f'it is a zip archive of {", ".join(names[:3]) or "nothing"}, not of weights: unpack it')
        broken = archive.testzip()
    if broken:
        raise ArchiveError(f'{broken} in it is damaged: copy or download it again')


def read_array_pickle(path: Path) -> Any:
    """Read a plain pickle of dicts, numbers, text and numpy arrays, such as detectron2's ``.pkl`` files.

    Returns:
        its content, arrays as tensors.

    Raises:
        RefusedError: the pickle asks for anything else; nothing of it runs.
    """
    with path.open('rb') as file:
        # Files of Python 2 hold their arrays as text.
        return _to_tensors(_ArrayUnpickler(file, encoding='latin1').load())


class _ArrayClass:
    """Stands for the name numpy.ndarray: a pickle may pass it on, but not call it (with a huge shape)."""


def _empty_array(kind: object, shape: object, code: object) -> np.ndarray:
    """What numpy's _reconstruct is asked for; the pickle then gives the array's true shape and bytes."""
    return np.empty(0)


def _encode(text: str, encoding: str) -> bytes:
    """Bytes in pickles of protocol 2 are text and this call; codecs other than latin1 are not needed."""
    return text.encode('latin1')


def _from_buffer(buffer: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order='F' if order == 'F' else 'C').copy()


_NUMPY = {
    'multiarray._reconstruct': _empty_array,
    'multiarray.scalar': lambda dtype, value: np.frombuffer(value, dtype=dtype)[0],
    'numeric._frombuffer': _from_buffer,
}
# What the name in a pickle stands for; our own functions instead of those it names, where they could be misused.
_ALLOWED: dict[str, Any] = {
    'collections.OrderedDict': OrderedDict,
    'numpy.ndarray': _ArrayClass(),
    'numpy.dtype': np.dtype,
    '_codecs.encode': _encode,
    # Protocol 2 writes empty bytes as this call.
    '__builtin__.bytes': lambda: b'',
    **{f'numpy.{core}.{name}': stand_in for core in ('core', '_core') for name, stand_in in _NUMPY.items()},
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full_name = f'{module}.{name}'
        if full_name not in _ALLOWED:
            raise RefusedError(full_name)
        return _ALLOWED[full_name]

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedError('a persistent object')


def _to_tensors(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _to_tensors(value) for name, value in content.items()}
    if isinstance(content, np.ndarray):
        # PyTorch knows native byte order only, and no read-only memory.
        return torch.from_numpy(np.array(content, dtype=content.dtype.newbyteorder('='), order='C'))
    return content
