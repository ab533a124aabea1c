"""Save mmengine's checkpoints without objects, so that safe loading can read them."""

import functools
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any

import mmengine.runner.checkpoint as upstream
import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer, MessageHub

from backbones.openmmlab.repairs.mmengine import stock_objects
from backbones.openmmlab.repairs.rebind import rebind
from backbones.openmmlab.views import View, with_names

# Parts that mmengine itself writes. All other parts of a checkpoint are weights or the user's own.
OWN_PARTS = ('message_hub', 'meta', 'param_schedulers')
# Environment variable of users who trust all files that they read.
UNSAFE = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'


def plain(value: Any) -> Any:
    """Replace the objects that mmengine, mmdet and mmseg leave in a checkpoint by plain values.

    Log histories become dicts of two lists, numpy arrays lists, numpy scalars numbers, configs dicts and paths text.
    Everything else stays as it is.
    """
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist()) if value.dtype.kind in 'biufSU' else value
    if isinstance(value, HistoryBuffer):
        log, count = value.data
        return {'log_history': log.tolist(), 'count_history': count.tolist(), 'max_length': value.max_length}
    if type(value) in (dict, OrderedDict, ConfigDict):
        kind = OrderedDict if type(value) is OrderedDict else dict
        return kind((plain(key), plain(item)) for key, item in value.items())
    if type(value) in (list, tuple, set):
        return type(value)(plain(item) for item in value)
    return str(value) if isinstance(value, PurePath) else value


def _saves_histories() -> bool:
    """Whether mmengine writes its log into checkpoints as objects."""
    hub = MessageHub('dense-mae asks once')
    hub.update_scalar('value', 1.0)
    return any(isinstance(value, HistoryBuffer) for value in hub.state_dict()['log_scalars'].values())


def repair_saved_objects() -> bool:
    """Keep mmengine's objects out of the checkpoints it saves (mmengine#1655).

    It pickles its log histories and numpy scalars, which safe loading refuses, so that its own files can neither be
    resumed nor loaded. Parts other than mmengine's own (`OWN_PARTS`) are saved as they are.
    """
    if not _saves_histories():
        return False
    original = upstream.save_checkpoint

    @functools.wraps(original)
    def save_checkpoint(checkpoint: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        content = {key: plain(item) if key in OWN_PARTS else item for key, item in checkpoint.items()}
        original(content, *args, **kwargs)

    rebind(original, save_checkpoint)
    return True


def _history(value: Any) -> Any:
    """Rebuild a log history from its plain form; anything else stays as it is."""
    if isinstance(value, dict) and value.keys() == {'log_history', 'count_history', 'max_length'}:
        return HistoryBuffer(**value)
    return value


def repair_resumed_histories() -> bool:
    """Resume the log histories that `plain` has converted (mmengine#1655), which mmengine would skip."""
    if not _saves_histories():
        return False
    original = MessageHub.load_state_dict

    @functools.wraps(original)
    def load_state_dict(self: MessageHub, state_dict: MessageHub | dict[str, Any]) -> None:
        if isinstance(state_dict, dict):
            scalars = {key: _history(value) for key, value in state_dict.get('log_scalars', {}).items()}
            state_dict = {**state_dict, 'log_scalars': scalars}
        original(self, state_dict)

    MessageHub.load_state_dict = load_state_dict
    return True


def _loads_safely(loader: Callable[..., Any]) -> bool:
    """Whether mmengine's loader of local files asks torch for safe loading by itself."""
    asked: dict[str, Any] = {}
    recorder = SimpleNamespace(load=lambda *args, **kwargs: asked.update(kwargs))
    with_names(loader, torch=recorder)(__file__, None)
    return asked.get('weights_only') is True


def safe_load(file: Any, *args: Any, **kwargs: Any) -> Any:
    """`torch.load` for mmengine: safe, unless the user's environment declares all files trusted."""
    if UNSAFE in os.environ:
        return torch.load(file, *args, **kwargs)
    map_location = args[0] if args else kwargs.pop('map_location', None)
    return stock_objects.load(file, map_location=map_location, **kwargs)


def _safe_load_url(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load_url(*args: Any, **kwargs: Any) -> Any:
        if UNSAFE in os.environ:
            return original(*args, **kwargs)
        with torch.serialization.safe_globals(stock_objects.STAND_INS):
            return stock_objects.restored(original(*args, **{**kwargs, 'weights_only': True}))

    return load_url


def repair_unsafe_loading() -> bool:
    """Load checkpoints safely, those of stock mmengine included (mmengine#1670, mmengine#1655).

    mmengine 0.11 reads every checkpoint with ``weights_only=False``, so that a downloaded file can run any code; 0.10
    uses torch's default, which refuses the histories in mmengine's own files. Only mmengine's reader is changed, not
    the user's `torch.load`.
    """
    if _loads_safely(upstream.load_from_local):
        return False
    upstream.torch = View(torch, load=safe_load)
    upstream.load_url = _safe_load_url(upstream.load_url)
    return True
