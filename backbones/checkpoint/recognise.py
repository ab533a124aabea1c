"""Take the encoder out of a file's content: which state dict, which format, what is left over."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from backbones.checkpoint.beit import convert_beit
from backbones.checkpoint.dialects import to_ours
from backbones.checkpoint.formats import ENCODER_EXTRAS, FORMATS, Format, encoder_prefixes, find_row
from backbones.checkpoint.states import State, choose, find_states, swapped_in
from backbones.checkpoint.told import NOTHING_TOLD, Told, told_by

# Number of names shown for a file of no known format.
SHOWN = 4


@dataclass(frozen=True)
class EncoderFile:
    """An encoder taken out of its file.

    Attributes:
        source: the file, for messages.
        format: name of the format.
        tensors: the encoder's tensors under MAE's names.
        left_over: name in the file -> why it belongs to no backbone.
        unexpected: names in the file that nothing explains.
        shapes: name -> shape in the file, for left-over and reshaped tensors.
        weights: which of several state dicts this is and why, for the report; '' if there is only one.
        told: what the file tells beyond its tensors.
    """

    source: str
    format: str
    tensors: dict[str, Tensor]
    left_over: dict[str, str]
    unexpected: list[str]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    weights: str = ''
    told: Told = NOTHING_TOLD


def recognise(content: dict[str, Any], source: str, key: str | None = None, prefix: str | None = None) -> EncoderFile:
    """Find the encoder in what `read_checkpoint` returned.

    Args:
        content: top-level dict of the file.
        source: the file's name, for messages.
        key: place of the state dict, such as ``'model_ema'``; ``''`` is the file itself; None searches for it.
        prefix: text in front of the encoder's names, such as ``'student.backbone.'``; None searches for it.

    Raises:
        ValueError: no format fits, the file has several encoders and nothing tells which is meant, or there is no such
            ``key`` or ``prefix``.
    """
    states = find_states(content)
    if key is not None and key not in states:
        raise ValueError(f'{source} has no weights under key={key!r}: it has {_places(states)}')
    prefix = prefix if not prefix or prefix.endswith('.') else f'{prefix}.'
    try:
        rows = {
            place: find_row(state.tensors, place, prefix) for place, state in states.items() if key in (None, place)
        }
    except ValueError as error:
        raise ValueError(f'{source}: {error}') from error
    found = {place: row for place, row in rows.items() if row}
    if not found:
        raise ValueError(_refusal(content, source, states, prefix))
    chosen, why = _chosen(found, states, source, swapped_in(content))
    clashes = states[chosen].clashes
    if clashes:
        first, second = clashes[0]
        raise ValueError(f'{source} names one parameter twice, by {first!r} and {second!r}, with different values')
    file = _take(states[chosen], found[chosen], source)
    file.left_over.update(_other_weights(chosen, states, content))
    told = told_by(content, source, file.format, file.tensors)
    return EncoderFile(**{**vars(file), 'weights': why, 'told': told})


def _chosen(
    found: dict[str, Format], states: dict[str, State], source: str, swapped: tuple[str, ...]
) -> tuple[str, str]:
    """Choose one of the state dicts, and write a line about the choice if there are several."""
    if len(found) == 1:
        return next(iter(found)), ''
    chosen = choose(found, swapped) if _are_alike([states[place] for place in found]) else None
    if not chosen:
        raise ValueError(
            f'{source} has several sets of weights: {", ".join(map(repr, found))}; say which by key=, such as '
            f'key={next(iter(found))!r}'
        )
    others = ' or '.join(f'key={place!r}' for place in found if place != chosen[0])
    return chosen[0], f'{chosen[0]!r}: {chosen[1]}; {others} takes the other'


def _are_alike(states: list[State]) -> bool:
    """Whether all may be weights of one network, judged by patch projection and number of tensors in blocks."""

    def size(state: State) -> tuple[object, int]:
        kernels = {value.shape for name, value in state.tensors.items() if 'patch_embed' in name and value.ndim == 4}
        return kernels, sum('.attn' in name or '.mlp' in name for name in state.tensors)

    return all(size(state) == size(states[0]) for state in states)


def _other_weights(chosen: str, states: dict[str, State], content: dict[str, Any]) -> dict[str, str]:
    """Other places in the file that hold tensors -> why they are left over."""
    left_over: dict[str, str] = {}
    for place, state in states.items():
        nested = chosen.startswith(f'{place}.') or place.startswith(f'{chosen}.')
        if place == '' and chosen:
            loose = [name for name, value in content.items() if isinstance(value, Tensor)]
            left_over |= dict.fromkeys(map(str, loose), f'outside of {chosen!r}, where the encoder is')
        elif place not in (chosen, '') and not nested:
            readable = bool(encoder_prefixes(state.tensors))
            left_over[place] = (
                f'other weights of a ViT: key={place!r} takes them' if readable else 'tensors of no ViT that is read'
            )
    return left_over


def _take(state: State, row: Format, source: str) -> EncoderFile:
    inside = {name[len(row.prefix) :]: value for name, value in state.tensors.items() if name.startswith(row.prefix)}
    outside = [name for name in state.tensors if not name.startswith(row.prefix)]
    tensors, left_over, unexpected = to_ours(inside, row.dialect)
    left_over |= state.others
    tensors, indices = convert_beit(tensors)
    left_over |= indices
    shapes = _drop_distillation(tensors, left_over) | _flatten_positions(tensors, left_over)
    for name in list(tensors):
        reason = _explain(name, ENCODER_EXTRAS)
        if reason:
            left_over[name] = reason
            shapes[name] = tuple(tensors.pop(name).shape)
    prefixes = encoder_prefixes(state.tensors) if outside else set()
    for name in outside:
        shapes[name] = tuple(state.tensors[name].shape)
        other = next((prefix for prefix in prefixes - {row.prefix} if name.startswith(prefix)), None)
        reason = _explain(name, row.others)
        if other and (not reason or ('', reason) in row.others):
            reason = f'another encoder: prefix={other!r} takes it'
        if reason:
            left_over[name] = reason
        else:
            unexpected.append(name)
    return EncoderFile(source, row.name, tensors, left_over, unexpected, shapes)


def _drop_distillation(tensors: dict[str, Tensor], left_over: dict[str, str]) -> dict[str, tuple[int, ...]]:
    """Remove DeiT's distillation token and its row 1 of the positions; return the shapes these had."""
    if 'dist_token' not in tensors or 'pos_embed' not in tensors or tensors['pos_embed'].ndim != 3:
        return {}
    table = tensors['pos_embed']
    places = table.shape[1] - 2
    # Other files may use the name for something else; without the extra row it stays, and the report complains.
    if places < 1 or math.isqrt(places) ** 2 != places:
        return {}
    # (1, 2 + H * W, D) -> (1, 1 + H * W, D)
    tensors['pos_embed'] = torch.cat([table[:, :1], table[:, 2:]], dim=1)
    token = tensors.pop('dist_token')
    left_over['dist_token'] = 'distillation token, which PlainViT lacks: the other tokens no longer attend to it'
    return {'pos_embed': tuple(table.shape), 'dist_token': tuple(token.shape)}


def _flatten_positions(tensors: dict[str, Tensor], left_over: dict[str, str]) -> dict[str, tuple[int, ...]]:
    """Flatten SAM's positions (1, H, W, D) to rows, and leave its neck over; return the shapes these had."""
    table = tensors.get('pos_embed')
    if table is None or table.ndim != 4 or len(table) != 1:
        return {}
    shapes = {name: tuple(tensors.pop(name).shape) for name in list(tensors) if name.startswith('neck.')}
    left_over |= dict.fromkeys(shapes, "SAM's neck, behind the blocks")
    # (1, H, W, D) -> (1, H * W, D)
    tensors['pos_embed'] = table.flatten(1, 2)
    return shapes | {'pos_embed': tuple(table.shape)}


def _explain(name: str, table: tuple[tuple[str, str], ...]) -> str | None:
    return next((reason for start, reason in table if name.startswith(start)), None)


def _places(states: dict[str, State]) -> str:
    return ', '.join(repr(place) for place in states) or 'none at all'


def _refusal(content: dict[str, Any], source: str, states: dict[str, State], prefix: str | None) -> str:
    """Say in one line why no encoder was found, with the names inside."""
    names = [name for state in states.values() for name in state.tensors]
    inside = f'; names inside: {", ".join(names[:SHOWN])}' if names else ''
    if prefix is not None:
        return f'{source} has no encoder behind prefix={prefix!r}{inside}'
    keys = ', '.join(str(key) for key in list(content)[:8]) or 'none'
    known = '; '.join(dict.fromkeys(row.name for row in FORMATS))
    return f'{source} is of no known format (its first keys: {keys}{inside}). Formats read: {known}'
