"""Pickles that PyTorch's own weights-only reader does not judge: one reader, and all that any pickle may ask for.

What stands in none of the tables is refused, and nothing of the file runs.
"""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2


class RefusedError(ValueError):
    """A pickle asks for something that weights do not need; ``args[0]`` names it."""


class Inert:
    """Stands for an object whose class is not wanted: keeps what the pickle gives it, and does nothing."""

    # PyTorch compares the class's source with the one in an old file, and asks this what to do about a difference.
    dump_patches = False

    def __init__(self, *given: object) -> None:
        self.given = given

    def __setstate__(self, state: object) -> None:
        # attrs and torch.nn both hand over a dict; anything else has no tensors in a place we know.
        self.__dict__.update(state if isinstance(state, dict) else {})


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
# What a name in a pickle stands for; our own functions instead of those it names, where they could be misused.
ARRAYS: dict[str, Any] = {
    'collections.OrderedDict': OrderedDict,
    'numpy.ndarray': _ArrayClass(),
    'numpy.dtype': np.dtype,
    '_codecs.encode': _encode,
    # Protocol 2 writes empty bytes as this call.
    '__builtin__.bytes': lambda: b'',
    **{f'numpy.{core}.{name}': stand_in for core in ('core', '_core') for name, stand_in in _NUMPY.items()},
}
# Whole modules, saved with their classes: of these packages none is imported, each class is `Inert`.
MODULE_PACKAGES = ('dall_e.', 'torch.nn.modules.')
MODULES: dict[str, Any] = {
    'collections.OrderedDict': OrderedDict,
    'torch._utils._rebuild_tensor_v2': _rebuild_tensor_v2,
    'torch._utils._rebuild_parameter': _rebuild_parameter,
    'torch.device': Inert,
    '__builtin__.set': set,
    'builtins.set': set,
    # How protocol 2 makes an object whose class has no __reduce__ of its own; the class is Inert here.
    'copyreg._reconstructor': lambda kind, base, state: Inert(),
}
# mmengine stores its log beside the weights, as objects that PyTorch's own reader refuses. It is told that these names
# (of functions too) are `Inert`: what they stand for is never looked up, so none of it can run.
LOG: dict[str, Any] = dict.fromkeys(
    (
        'mmengine.logging.history_buffer.HistoryBuffer',
        'builtins.getattr',
        '__builtin__.getattr',
        'numpy.ndarray',
        'numpy.dtype',
        *(f'numpy.{core}.multiarray.{name}' for core in ('core', '_core') for name in ('_reconstruct', 'scalar')),
    ),
    Inert,
)


class Restricted(pickle.Unpickler):
    """An unpickler that knows the names of a table, and takes the classes of some packages for `Inert`.

    Args:
        file: the pickle.
        allowed: what the names stand for.
        inert: packages, each with a dot behind it.
        options: of `pickle.Unpickler`.
    """

    def __init__(
        self, file: IO[bytes], allowed: Mapping[str, Any], inert: tuple[str, ...] = (), **options: Any
    ) -> None:
        super().__init__(file, **options)
        self.allowed, self.inert = allowed, inert

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for.

        Raises:
            RefusedError: it is none of the table.
        """
        full_name = f'{module}.{name}'
        if full_name.startswith(self.inert):
            return Inert
        if full_name not in self.allowed:
            raise RefusedError(full_name)
        return self.allowed[full_name]


class _ArrayReader(Restricted):
    """Reads pickles whose arrays are in them; there is no storage outside."""

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedError('a persistent object')


def read_array_pickle(path: Path) -> Any:
    """Read a plain pickle of dicts, numbers, text and numpy arrays, such as detectron2's ``.pkl`` files.

    Returns:
        its content, arrays as tensors.

    Raises:
        RefusedError: the pickle asks for anything else; nothing of it runs.
    """
    with path.open('rb') as file:
        # Files of Python 2 hold their arrays as text.
        return _to_tensors(_ArrayReader(file, ARRAYS, encoding='latin1').load())


def _to_tensors(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _to_tensors(value) for name, value in content.items()}
    if isinstance(content, np.ndarray):
        # PyTorch knows native byte order only, and no read-only memory.
        return torch.from_numpy(np.array(content, dtype=content.dtype.newbyteorder('='), order='C'))
    return content
