"""Whole modules saved as pickles, such as the dVAE of DALL-E (``encoder.pkl``): their tensors, without their code."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import torch
from torch import Tensor
from torch.serialization import SourceChangeWarning

from backbones.checkpoint.pickles import MODULE_PACKAGES, MODULES, Inert, RefusedError, Restricted


class _Unpickler(Restricted):
    """What PyTorch builds for a file, and gives its own ``persistent_load``."""

    def __init__(self, file: IO[bytes], **options: Any) -> None:
        super().__init__(file, MODULES, MODULE_PACKAGES, **options)


def _load(file: IO[bytes], **options: Any) -> Any:
    return _Unpickler(file, **options).load()


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
    restricted = SimpleNamespace(Unpickler=_Unpickler, load=_load, __name__='restricted pickle')
    try:
        # Not weights_only: PyTorch's own unpickler knows no stand-ins. Ours lets through less than it does.
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', SourceChangeWarning)
            content = torch.load(path, map_location='cpu', pickle_module=restricted, weights_only=False)
    except FileNotFoundError:
        raise FileNotFoundError(f'there is no checkpoint {path}') from None
    # Damaged bytes are taken for pickle instructions, so any exception may come out.
    except Exception as error:
        refused = f'its pickle asks for {error}, and weights need no code, so it is refused'
        reason = refused if isinstance(error, RefusedError) else 'it is damaged, cut short or not a PyTorch file'
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
