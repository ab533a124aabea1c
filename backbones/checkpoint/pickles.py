"""A restricted reader for pickles that PyTorch's weights-only reader cannot check, and tables of what pickles may use.

Anything outside the tables is refused, and no code from the file runs.
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
    """Stands in for an object of an unwanted class: keeps what the pickle gives it, and does nothing."""

    # PyTorch compares the class's source with that in an old file, and reads this to handle a difference.
    dump_patches = False

    def __init__(self, *given: object) -> None:
        self.given = given

    def __setstate__(self, state: object) -> None:
        # attrs and torch.nn both pass a dict; anything else has no tensors in a known place.
        self.__dict__.update(state if isinstance(state, dict) else {})


class _ArrayClass:
    """Stands in for numpy.ndarray: a pickle may pass it as an argument, but not call it (with a huge shape)."""


def _empty_array(kind: object, shape: object, code: object) -> np.ndarray:
    """Replace numpy's _reconstruct; the pickle sets the array's true shape and bytes afterwards."""
    return np.empty(0)


def _encode(text: str, encoding: str) -> bytes:
    """Make bytes, which protocol 2 writes as text and this call; only the codec latin1 is needed."""
    return text.encode('latin1')


def _from_buffer(buffer: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order='F' if order == 'F' else 'C').copy()


_NUMPY = {
    'multiarray._reconstruct': _empty_array,
    'multiarray.scalar': lambda dtype, value: np.frombuffer(value, dtype=dtype)[0],
    'numeric._frombuffer': _from_buffer,
}
# What each name in a pickle means; functions that could be misused are replaced by our own.
ARRAYS: dict[str, Any] = {
    'collections.OrderedDict': OrderedDict,
    'numpy.ndarray': _ArrayClass(),
    'numpy.dtype': np.dtype,
    '_codecs.encode': _encode,
    # Protocol 2 writes empty bytes as this call.
    '__builtin__.bytes': lambda: b'',
    **{f'numpy.{core}.{name}': stand_in for core in ('core', '_core') for name, stand_in in _NUMPY.items()},
}
# For whole modules saved with their classes: these packages are not imported, and each of their classes is `Inert`.
MODULE_PACKAGES = ('dall_e.', 'torch.nn.modules.')
MODULES: dict[str, Any] = {
    'collections.OrderedDict': OrderedDict,
    'torch._utils._rebuild_tensor_v2': _rebuild_tensor_v2,
    'torch._utils._rebuild_parameter': _rebuild_parameter,
    'torch.device': Inert,
    '__builtin__.set': set,
    'builtins.set': set,
    # Protocol 2 makes an object this way if its class has no __reduce__ of its own; here the class is Inert.
    'copyreg._reconstructor': lambda kind, base, state: Inert(),
}
# mmengine stores its log beside the weights, as objects that PyTorch's own reader refuses. That reader is told that
# these names, some of them functions, are `Inert`: the true objects are never looked up, so none of them can run.
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
    """An unpickler that knows only the names of a table, and replaces classes of some packages by `Inert`.

    Args:
        file: the pickle.
        allowed: name -> what it means.
        inert: packages, each with a trailing dot.
        options: options of `pickle.Unpickler`.
    """

    def __init__(
        self, file: IO[bytes], allowed: Mapping[str, Any], inert: tuple[str, ...] = (), **options: Any
    ) -> None:
        super().__init__(file, **options)
        self.allowed, self.inert = allowed, inert

    def find_class(self, module: str, name: str) -> Any:
        """Look up what a name means.

        Raises:
            RefusedError: the name is not in the table.
        """
        full_name = f'{module}.{name}'
        if full_name.startswith(self.inert):
            return Inert
        if full_name not in self.allowed:
            raise RefusedError(full_name)
        return self.allowed[full_name]


class _ArrayReader(Restricted):
    """Reads pickles that contain their arrays; they have no outside storage."""

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedError('a persistent object')


def read_array_pickle(path: Path) -> Any:
    """Read a plain pickle of dicts, numbers, text and numpy arrays, such as detectron2's ``.pkl`` files.

    Returns:
        its content, with arrays as tensors.

    Raises:
        RefusedError: the pickle asks for anything else; none of it runs.
    """
    with path.open('rb') as file:
        # Python 2 stored arrays as text.
        return _to_tensors(_ArrayReader(file, ARRAYS, encoding='latin1').load())


def _to_tensors(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _to_tensors(value) for name, value in content.items()}
    if isinstance(content, np.ndarray):
        # PyTorch needs native byte order and writable memory.
        return torch.from_numpy(np.array(content, dtype=content.dtype.newbyteorder('='), order='C'))
    return content
