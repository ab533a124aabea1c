"""Checkpoints of mmengine without objects: what it saves is read back with safe loading on."""

import functools
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import mmengine.runner.checkpoint as upstream
import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub, print_log

from backbones.openmmlab.repairs_rebind import rebind

# Types that torch's safe loading knows by itself.
INERT = (type(None), bool, int, float, complex, str, bytes, torch.Tensor, torch.dtype, torch.device, torch.Size)
SAFE, UNSAFE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'


def plain(value: Any) -> Any:
    """The same content out of builtin types and tensors only.

    Dicts stay dicts, sequences become lists, tuples or sets, numpy arrays lists, log histories dicts of two lists,
    paths text. An object of any other kind has no plain form and is replaced by its description, with a warning.
    """
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, HistoryBuffer):
        log, count = value.data
        return {'log_history': log.tolist(), 'count_history': count.tolist(), 'max_length': value.max_length}
    if isinstance(value, dict):
        kind = OrderedDict if isinstance(value, OrderedDict) else dict
        return kind((plain(key), plain(item)) for key, item in value.items())
    for sequence in (list, tuple, set):
        if isinstance(value, sequence) and type(value) is not torch.Size:
            return sequence(plain(item) for item in value)
    return _plain_single(value)


def _plain_single(value: Any) -> Any:
    if type(value) in INERT or isinstance(value, torch.Tensor):
        return value
    for builtin in (bool, int, float, str, bytes):
        if isinstance(value, builtin):
            return builtin(value)  # type: ignore[arg-type]
    return str(value) if isinstance(value, PurePath) else _described(value)


def _described(value: Any) -> str:
    text = repr(value)
    print_log(
        f'{text} cannot be kept in a checkpoint that loads safely: its description is', 'current', logging.WARNING
    )
    return text


def repair_saved_objects() -> None:
    """Keep objects out of saved checkpoints (mmengine#1655).

    mmengine pickles its log histories and numpy scalars, which safe loading refuses, so that its own files can
    neither be resumed nor loaded. Model weights are left as they are.
    """
    original = upstream.save_checkpoint

    @functools.wraps(original)
    def save_checkpoint(checkpoint: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        content = {key: item if key.endswith('state_dict') else plain(item) for key, item in checkpoint.items()}
        original(content, *args, **kwargs)

    rebind(original, save_checkpoint)


def _history(value: Any) -> Any:
    """A log history out of its plain form; anything else as it is."""
    if isinstance(value, dict) and value.keys() == {'log_history', 'count_history', 'max_length'}:
        return HistoryBuffer(**value)
    return value


def repair_resumed_histories() -> None:
    """Resume the log histories that `plain` has written (mmengine#1655); mmengine would skip them."""
    original = MessageHub.load_state_dict

    @functools.wraps(original)
    def load_state_dict(self: MessageHub, state_dict: MessageHub | dict[str, Any]) -> None:
        if isinstance(state_dict, dict):
            scalars = {key: _history(value) for key, value in state_dict.get('log_scalars', {}).items()}
            state_dict = {**state_dict, 'log_scalars': scalars}
        original(self, state_dict)

    MessageHub.load_state_dict = load_state_dict


@contextmanager
def safe_loading() -> Iterator[None]:
    """`torch.load` refuses code in here, whatever its arguments, unless the user's environment says otherwise."""
    before = os.environ.get(SAFE)
    if UNSAFE not in os.environ:
        os.environ[SAFE] = '1'
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(SAFE, None)
        else:
            os.environ[SAFE] = before


def repair_unsafe_loading() -> None:
    """Load checkpoints with safe loading on (mmengine#1670).

    mmengine 0.11 reads every checkpoint with ``weights_only=False``, so that a downloaded file runs any code it likes;
    0.10 leaves it to the default of torch.
    """
    loader = upstream.CheckpointLoader
    original: Callable[..., Any] = loader.load_checkpoint.__func__

    @functools.wraps(original)
    def load_checkpoint(cls: type, *args: Any, **kwargs: Any) -> Any:
        with safe_loading():
            return original(cls, *args, **kwargs)

    loader.load_checkpoint = classmethod(load_checkpoint)
