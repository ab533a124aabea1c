"""Find the state dicts in a file, clean their names, and choose among several."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

# Wrappers (DistributedDataParallel) put this before every name ...
WRAPPER = 'module.'
# ... and others (torch.compile, FSDP, activation checkpointing, Lightning's Fabric) put these anywhere in a name.
INNER_WRAPPERS = re.compile(r'(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.')
# DINOv2 trains in chunks, named blocks.CHUNK.BLOCK; BLOCK counts on through all chunks.
CHUNKED = re.compile(r'(^|\.)blocks\.\d+\.(\d+)\.')
# Words in the key of weights that are a running average of others. 'momentum' and 'target' are left out: some projects
# evaluate these (I-JEPA), others evaluate the weights they follow (MoCo, BYOL).
AVERAGED = {'ema', 'averaged', 'average', 'avg', 'swa', 'teacher'}
# With these keys it is the other way round: the plain key holds the average, these the raw weights (mmengine,
# Lightning).
SWAPPED = ('ema_state_dict', 'current_model_state')


def swapped_in(content: dict[str, Any]) -> tuple[str, ...]:
    """Keys of `SWAPPED` that count in a file; mmengine's counts only in its own files, which have ``meta``."""
    return SWAPPED if 'meta' in content else SWAPPED[1:]


@dataclass(frozen=True)
class State:
    """One state dict.

    Attributes:
        tensors: name without wrappers -> tensor.
        others: name -> why it is left over: entries that are not tensors or repeat a tensor.
        clashes: pairs of names that are equal without wrappers but hold different tensors.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    clashes: list[tuple[str, str]] = field(default_factory=list)


def find_states(content: dict[str, Any]) -> dict[str, State]:
    """Find the state dicts: the file itself (key ``''``), its dicts (``'model'``) and theirs (``'ema.module'``).

    Args:
        content: top-level dict of a file.

    Returns:
        key -> state dict, for each dict that holds at least one named tensor.
    """
    found: dict[str, dict[Any, Any]] = {'': content}
    for key, value in content.items():
        if isinstance(value, dict):
            found[str(key)] = value
            found |= {f'{key}.{name}': inner for name, inner in value.items() if isinstance(inner, dict)}
    return {key: _clean(state) for key, state in found.items() if any(_is_weight(*item) for item in state.items())}


def _is_weight(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _clean(state: dict[Any, Any]) -> State:
    """Remove wrappers from the names, and set aside what is not a tensor."""
    weights = {name: value for name, value in state.items() if _is_weight(name, value)}
    others = {
        str(name): f'no tensor but {type(value).__name__}' for name, value in state.items() if name not in weights
    }
    cleaned = State(others=others)
    origin: dict[str, str] = {}
    for name, plain in zip(weights, _plain_names(list(weights)), strict=True):
        if plain not in origin:
            origin[plain] = name
            cleaned.tensors[plain] = weights[name]
        elif same(cleaned.tensors[plain], weights[name]):
            others[name] = f'stored twice, as {origin[plain]} too'
        else:
            cleaned.clashes.append((origin[plain], name))
    return cleaned


def _plain_names(names: list[str]) -> list[str]:
    names = [INNER_WRAPPERS.sub('', name) for name in names]
    while all(name.startswith(WRAPPER) for name in names):
        names = [name.removeprefix(WRAPPER) for name in names]
    whole = [CHUNKED.sub(r'\1blocks.\2.', name) for name in names]
    in_blocks = [name for name in names if re.search(r'(^|\.)blocks\.\d+\.', name)]
    return whole if all(CHUNKED.search(name) for name in in_blocks) else names


def same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors agree in dtype, shape, layout and values."""
    return (first.dtype, first.shape, first.layout) == (second.dtype, second.shape, second.layout) and torch.equal(
        first, second
    )


def choose(places: Collection[str], swapped_names: Collection[str] = SWAPPED) -> tuple[str, str] | None:
    """Choose the running average among weights of one network, since their authors evaluate the average.

    Args:
        places: keys or prefixes of a file that all hold the same network.
        swapped_names: keys beside which the plain key holds the average.

    Returns:
        the place and why; None if no convention decides.
    """
    swapped = [place for place in places if place in swapped_names]
    if swapped:
        plain = [place for place in places if place not in swapped_names]
        return (plain[0], f'the average, and {swapped[0]!r} what it is made of') if len(plain) == 1 else None
    averaged = [place for place in places if AVERAGED & set(re.split(r'[\W_]+', place.lower()))]
    if len(averaged) != 1:
        return None
    return averaged[0], 'a running average (EMA, teacher), which is what is evaluated where there is one'


def plain_key(key: str) -> str:
    """Key of the raw weights beside averaged ones: ``'model'`` for ``'model_ema'``."""
    words = key.partition('.')[0].split('_')
    return key if key == 'teacher' else '_'.join(word for word in words if word not in AVERAGED)
