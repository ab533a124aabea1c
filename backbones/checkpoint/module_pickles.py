"""Read the tensors, not the code, of whole modules saved as pickles, such as DALL-E's dVAE (``encoder.pkl``)."""

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
    """The unpickler that PyTorch makes for a file, and to which it adds its own ``persistent_load``."""

    def __init__(self, file: IO[bytes], **options: Any) -> None:
        super().__init__(file, MODULES, MODULE_PACKAGES, **options)


def _load(file: IO[bytes], **options: Any) -> Any:
    return _Unpickler(file, **options).load()


def read_modules(path: str | Path) -> dict[str, Tensor]:
    """Read the parameters and buffers of a pickled module, without importing or running anything of it.

    Args:
        path: a file that ``torch.save(module, path)`` wrote, with modules of torch.nn and OpenAI's ``dall_e``.

    Returns:
        the content of the module's ``state_dict()``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the pickle asks for anything else, or holds no module; the message names it.
    """
    restricted = SimpleNamespace(Unpickler=_Unpickler, load=_load, __name__='restricted pickle')
    try:
        # Not weights_only, since PyTorch's own unpickler has no stand-ins. Ours allows less than PyTorch's.
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', SourceChangeWarning)
            content = torch.load(path, map_location='cpu', pickle_module=restricted, weights_only=False)
    except FileNotFoundError:
        raise FileNotFoundError(f'there is no checkpoint {path}') from None
    # Damaged bytes are read as pickle instructions, so any exception is possible.
    except Exception as error:
        refused = f'its pickle asks for {error}, and weights need no code, so it is refused'
        reason = refused if isinstance(error, RefusedError) else 'it is damaged, cut short or not a PyTorch file'
        raise ValueError(f'{path} cannot be read: {reason}') from error
    tensors = dict(_tensors(content, ''))
    if not tensors:
        raise ValueError(f'{path} holds a {type(content).__name__} without parameters, not a pickled module')
    return tensors


def _tensors(module: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """Walk a stand-in in the order in which torch.nn.Module walks itself."""
    if not isinstance(module, Inert):
        return
    for kind in ('_parameters', '_buffers'):
        for name, value in getattr(module, kind, {}).items():
            if isinstance(value, Tensor):
                yield prefix + name, value.detach()
    for name, child in getattr(module, '_modules', {}).items():
        yield from _tensors(child, f'{prefix}{name}.')
