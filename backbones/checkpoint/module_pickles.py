"""Whole modules saved as pickles, such as the dVAE of DALL-E (``encoder.pkl``): their tensors, without their code."""

import pickle
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch
from torch import Tensor
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2
from torch.serialization import SourceChangeWarning

# Classes of these are taken for modules: none is imported, an inert stand-in takes the state of each.
MODULE_PACKAGES = ('dall_e.', 'torch.nn.modules.')


class Inert:
    """Stands for an object whose class is not wanted: keeps what the pickle gives it, and does nothing."""

    # PyTorch compares the class's source with the one in an old file, and asks this what to do about a difference.
    dump_patches = False

    def __init__(self, *given: Any) -> None:
        self.given = given

    def __setstate__(self, state: Any) -> None:
        # attrs and torch.nn both hand over a dict; anything else has no tensors in a place we know.
        self.__dict__.update(state if isinstance(state, dict) else {})


_ALLOWED: dict[str, Any] = {
    'collections.OrderedDict': OrderedDict,
    'torch._utils._rebuild_tensor_v2': _rebuild_tensor_v2,
    'torch._utils._rebuild_parameter': _rebuild_parameter,
    'torch.device': Inert,
    '__builtin__.set': set,
    'builtins.set': set,
    # How protocol 2 makes an object whose class has no __reduce__ of its own; the class is Inert here.
    'copyreg._reconstructor': lambda kind, base, state: Inert(),
}


class _ModuleUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full_name = f'{module}.{name}'
        if full_name.startswith(MODULE_PACKAGES):
            return Inert
        if full_name not in _ALLOWED:
            raise ValueError(f'its pickle asks for {full_name}, and weights need no code, so it is refused')
        return _ALLOWED[full_name]


def _load(file: IO[bytes], **options: Any) -> Any:
    return _ModuleUnpickler(file, **options).load()


def read_modules(path: str | Path) -> dict[str, Tensor]:
    """Read the parameters and buffers of a pickled module, without importing or running anything of it.

    Args:
        path: a file that ``torch.save(module, path)`` wrote, of torch.nn's modules and those of OpenAI's ``dall_e``.

    Returns:
        what the module's ``state_dict()`` held.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the pickle asks for anything else, or holds no module; the message names it.
    """
    restricted = SimpleNamespace(Unpickler=_ModuleUnpickler, load=_load, __name__='restricted pickle')
    try:
        # Not weights_only: PyTorch's own unpickler knows no stand-ins. Ours lets through less than it does.
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', SourceChangeWarning)
            content = torch.load(path, map_location='cpu', pickle_module=restricted, weights_only=False)
    except FileNotFoundError:
        raise FileNotFoundError(f'there is no checkpoint {path}') from None
    # Damaged bytes are taken for pickle instructions, so any exception may come out.
    except Exception as error:
        reason = error if isinstance(error, ValueError) else 'it is damaged, cut short or not a PyTorch file'
        raise ValueError(f'{path} cannot be read: {reason}') from error
    tensors = dict(_tensors(content, ''))
    if not tensors:
        raise ValueError(f'{path} holds a {type(content).__name__} without parameters, not a pickled module')
    return tensors


def _tensors(module: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Walk a stand-in as torch.nn.Module walks itself."""
    if not isinstance(module, Inert):
        return
    for kind in ('_parameters', '_buffers'):
        for name, value in getattr(module, kind, {}).items():
            if isinstance(value, Tensor):
                yield prefix + name, value.detach()
    for name, child in getattr(module, '_modules', {}).items():
        yield from _tensors(child, f'{prefix}{name}.')
