"""Check whether a whole model's checkpoint fits the model and the data, and answer in one line."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

SHOWN = 3  # names of each kind


def state_of(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights in the content of a checkpoint, under the model's names."""
    inner = content.get('state_dict', content)
    inner = inner if isinstance(inner, Mapping) else content
    return {name.removeprefix('module.'): value for name, value in inner.items() if isinstance(value, Tensor)}


def misfit(content: Mapping[str, Any], model: nn.Module) -> str | None:
    """Say what in a checkpoint does not fit a model: the first few names and shapes of each kind; None if all fits."""
    theirs, own = state_of(content), model.state_dict()
    other = [
        f'{name} {tuple(theirs[name].shape)} in the file, {tuple(value.shape)} in the model'
        for name, value in own.items()
        if name in theirs and theirs[name].shape != value.shape
    ]
    missing = [name for name in own if name not in theirs]
    unknown = [name for name in theirs if name not in own]
    if not set(own) & set(theirs):
        return f'none of its {len(theirs)} weights ({_few(list(theirs))}) is one of the model ({_few(list(own))})'
    found = [
        f'{len(other)} of another shape ({_few(other)})' if other else '',
        f'{len(missing)} missing ({_few(missing)})' if missing else '',
        f'{len(unknown)} that the model lacks ({_few(unknown)})' if unknown else '',
    ]
    return ', '.join(filter(None, found)) or None


def classes_of(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the classes that a checkpoint was trained on; none if it does not tell."""
    meta = content.get('meta')
    data = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    return tuple((data or {}).get('classes') or ()) if isinstance(data, Mapping | None) else ()


def other_classes(content: Mapping[str, Any], classes: Sequence[str]) -> str | None:
    """Say how the classes of a checkpoint differ from those of the data; None if they agree."""
    theirs = classes_of(content)
    if not theirs or theirs == tuple(classes):
        return None
    order = 'in another order ' if sorted(theirs) == sorted(classes) else ''
    return f'it is of {len(theirs)} classes ({_few(theirs)}), the data {order}of {len(classes)} ({_few(classes)})'


def _few(names: Sequence[str]) -> str:
    return ', '.join(names[:SHOWN]) + (', ...' if len(names) > SHOWN else '')
