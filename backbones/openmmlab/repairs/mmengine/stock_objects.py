"""Read objects that mmengine pickles beside weights, without running anything that a file names.

Stock mmengine keeps its log histories, numpy scalars and arrays in checkpoints, which torch's safe loading refuses.
Here each of their names means one of the small classes below, which store what the pickle gives them and call nothing.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

# Codes of numbers, as numpy writes them: f8, i4, u1, b1.
NUMBERS = frozenset(f'{kind}{size}' for kind in 'fiu' for size in (1, 2, 4, 8)) | {'b1', 'f16'}


class _Ignored:
    """Stand-in for a history's method, which is looked up again instead of loaded."""

    def __init__(self, *arguments: object) -> None:
        pass


class _Dtype:
    """Stand-in for a numpy.dtype of numbers."""

    def __init__(self, code: str, *arguments: object) -> None:
        self.code = code
        self.order: Any = '='

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def true(self) -> np.dtype:
        if self.code not in NUMBERS:
            raise ValueError(f'an array of {self.code}, not of numbers')
        return np.dtype(self.code).newbyteorder('=' if self.order == '|' else self.order)


class _Array:
    """Stand-in for a numpy.ndarray of numbers."""

    def __init__(self, *arguments: object) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = np.frombuffer(raw, dtype.true()).reshape(shape, order='F' if fortran else 'C').copy()


class _History:
    """Stand-in for mmengine's HistoryBuffer."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


def _scalar(dtype: _Dtype, raw: bytes) -> bool | int | float:
    return np.frombuffer(raw, dtype.true())[0].item()


def _encode(text: str, encoding: str) -> bytes:
    """Make bytes, which protocol 2 writes as text and this call; only the codec latin1 is needed."""
    return text.encode('latin1')


# What each name in a file means.
STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_History, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_Ignored, 'builtins.getattr'),
    (_Ignored, '__builtin__.getattr'),
    (_Ignored, 'numpy.ndarray'),
    (_Dtype, 'numpy.dtype'),
    (_encode, '_codecs.encode'),
    *((_Array, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
    *((_scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
]


def load(file: Any, **options: Any) -> Any:
    """`torch.load` with safe loading, which also reads mmengine's objects.

    Raises:
        pickle.UnpicklingError: the file asks for anything else; none of it runs.
    """
    with torch.serialization.safe_globals(STAND_INS):
        return restored(torch.load(file, **{**options, 'weights_only': True}))


def restored(value: Any) -> Any:
    """Replace stand-ins by the true objects, in dicts and lists (in place) and in tuples."""
    if isinstance(value, dict):
        for key, item in value.items():
            value[key] = restored(item)
    elif isinstance(value, list):
        value[:] = map(restored, value)
    elif type(value) is tuple:
        return tuple(map(restored, value))
    elif isinstance(value, _Array):
        return value.value
    elif isinstance(value, _History):
        log, count = (restored(value.state[name]) for name in ('_log_history', '_count_history'))
        return HistoryBuffer(log, count, value.state['max_length'])
    return value
