"""Choose the weights that a model starts from, and read them once before the run."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS

from backbones.checkpoint.load import check_pretrained
from backbones.console.errors import UsageError
from backbones.vit import PlainViT

RANDOM = 'random'
OURS, MMENGINE = 'PretrainedViT', 'Pretrained'


def set_pretrained(cfg: Config, weights: str | None) -> str:
    """Choose the weights that the backbone starts from.

    Args:
        cfg: changed in place: sets ``init_cfg`` of the backbone (in a pretraining config, of the encoder), or only the
            checkpoint in an existing ``init_cfg``.
        weights: a checkpoint or published name; ``'random'`` for random weights; None for what the config says.

    Returns:
        a line that says what the backbone starts from.

    Raises:
        UsageError: the weights cannot be read or do not fit, or the model has not exactly one place for them.
    """
    if weights is not None and cfg.get('load_from') and not cfg.get('resume'):
        raise UsageError(
            f'--pretrained {weights}: load_from={cfg.load_from} of the config fills the whole model afterwards; '
            'add --cfg-options load_from=None'
        )
    if weights is not None and not weights.strip():
        raise UsageError('--pretrained is empty: give a file or a published name, or random')
    if weights == RANDOM:
        _forget(cfg.model)
    elif weights is not None:
        _use(cfg.model, weights)
    for _, node in _built(cfg.model):
        _check_weights(node)
    if cfg.get('load_from'):
        return f'the whole model starts from: {cfg.load_from}'
    backbones = find_backbones(cfg.model)
    if not backbones:
        return f'{cfg.model.type} starts from random weights'
    return '; '.join(f'{name} starts from: {_source(node, cfg.model)}' for name, node in backbones)


def find_backbones(model: ConfigDict) -> list[tuple[str, ConfigDict]]:
    """Backbone or encoder of a model, with its name; if it has none of its own, those of the models inside it."""
    for key in ('backbone', 'encoder'):
        if isinstance(model.get(key), dict):
            return [('backbone', model[key])]
    inner = ('backbone', 'encoder', 'image_encoder')
    return [(path, node) for path, node in _built(model) if path.rpartition('.')[2] in inner]


def pretrained_entry(init_cfg: Any) -> Any:
    """Entry that loads a checkpoint in an ``init_cfg``, which is one dict or a list of dicts; None if there is none."""
    entries = init_cfg if isinstance(init_cfg, list | tuple) else [init_cfg]
    return next((entry for entry in entries if entry and entry.get('type') in (OURS, MMENGINE)), None)


def _use(model: ConfigDict, weights: str) -> None:
    backbones = find_backbones(model)
    if len(backbones) != 1:
        names = ', '.join(f'model.{name}.init_cfg' for name, _ in backbones)
        several = f'has several, set one by --cfg-options: {names}' if names else 'has neither backbone nor encoder'
        raise UsageError(f'--pretrained {weights} is for models with one backbone; {model.type} {several}')
    backbone = backbones[0][1]
    for node in (model, backbone):  # mmseg's older option, which would apply in addition
        if node.get('pretrained') is not None:
            node.pretrained = None
    entry = pretrained_entry(backbone.get('init_cfg'))
    kind = OURS if _is_plain_vit(backbone) else MMENGINE
    if entry is not None and entry.type == kind:
        entry.checkpoint = weights
        return
    new = ConfigDict(type=kind, checkpoint=weights)
    others = _without_pretrained(backbone.get('init_cfg'))
    backbone.init_cfg = [*others, new] if others else new


def _forget(model: ConfigDict) -> None:
    """Remove every checkpoint that a part of the model would load."""
    for _, node in _built(model):
        if node.get('pretrained') is not None:
            node.pretrained = None
        if pretrained_entry(node.get('init_cfg')) is not None:
            node.init_cfg = _without_pretrained(node.init_cfg) or None


def _without_pretrained(init_cfg: Any) -> list[Any]:
    entries = init_cfg if isinstance(init_cfg, list | tuple) else [init_cfg]
    return [entry for entry in entries if entry and entry.get('type') not in (OURS, MMENGINE)]


def _built(node: Any, path: str = '') -> Iterator[tuple[str, ConfigDict]]:
    """Yield every dict of a model from which a class is built, with its dotted name."""
    if isinstance(node, dict) and 'type' in node:
        yield path, node
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    for key, value in entries:
        yield from _built(value, f'{path}.{key}' if path else str(key))


def _source(backbone: ConfigDict, model: ConfigDict) -> str:
    entry = pretrained_entry(backbone.get('init_cfg')) or pretrained_entry(model.get('init_cfg'))
    named = backbone.get('pretrained') or model.get('pretrained')
    return str(entry.checkpoint if entry is not None else named or 'random weights')


def _is_plain_vit(backbone: ConfigDict) -> bool:
    kind = MODELS.get(backbone.type) if isinstance(backbone.type, str) else backbone.type
    return isinstance(kind, type) and issubclass(kind, PlainViT)


def _check_weights(node: ConfigDict) -> None:
    """Read the weights once before the run, so that a wrong file gives a clear message."""
    entry = pretrained_entry(node.get('init_cfg'))
    if entry is None:
        return
    source = entry.checkpoint
    if entry.type == MMENGINE:
        if '://' not in source and not Path(source).expanduser().is_file():
            raise UsageError(_absent(source))
        return
    if not _is_plain_vit(node):
        raise UsageError(f'init_cfg of type {OURS} fills a PlainViT, not a {node.type}: put it on the backbone')
    options = {key: value for key, value in entry.items() if key not in ('type', 'checkpoint')}
    taken = inspect.signature(check_pretrained).parameters
    unknown = [key for key in options if key not in taken]
    if unknown:
        raise UsageError(f'init_cfg of type {OURS} takes {", ".join(list(taken)[2:])}, not {", ".join(unknown)}')
    with torch.device('meta'):  # comparing shapes is enough, and takes no time
        vit = MODELS.build({**node, 'init_cfg': None})
    try:
        check_pretrained(vit, source, **options)
    except FileNotFoundError as error:
        raise UsageError(_absent(source)) from error
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error


def _absent(source: str) -> str:
    return (
        f'pretrained weights {source}: there is no such file. Give --pretrained PATH or a published name, or '
        f'--pretrained {RANDOM} to start from random weights'
    )
