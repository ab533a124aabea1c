"""Find the checkpoint to resume from, and check that it belongs to this training."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from backbones.checkpoint.config_text import read_model_config
from backbones.checkpoint.read import read_checkpoint
from backbones.console.errors import UsageError
from backbones.engine.resume.schedule import plain

POINTER = 'last_checkpoint'
SAVED = re.compile(r'(epoch|iter)_(\d+)\.pth')
# Parts that mmengine needs to resume.
PARTS = ('meta', 'state_dict', 'message_hub', 'optimizer')
# Settings that change what a model computes, though every tensor keeps its shape.
STRUCTURE = ('num_heads', 'variant', 'window_size', 'global_blocks', 'out_indices', 'pool', 'rel_pos', 'window_abs_pos')


def find_latest(work_dir: str | Path) -> Path | None:
    """Find the checkpoint of a working directory to resume from; None if there is none.

    It is the one that ``last_checkpoint`` names, searched in the directory itself, as directories get moved and copied;
    else the furthest one there; else the named one at its own path.

    Raises:
        UsageError: ``last_checkpoint`` names a file that is lost, and there is no other checkpoint.
    """
    folder, pointer = Path(work_dir), Path(work_dir) / POINTER
    text = pointer.read_text(errors='replace').strip() if pointer.is_file() else ''
    named = Path(text) if text else None
    furthest = _furthest(folder)
    candidates = (named and folder / named.name, furthest, named)
    found = next((candidate for candidate in candidates if candidate and candidate.is_file()), None)
    if found is None and named:
        raise UsageError(
            f'--resume: {pointer} names {named}, which is not there, and {folder} holds no other checkpoint: give '
            '--resume PATH, or remove last_checkpoint to start anew'
        )
    return found


def _furthest(folder: Path) -> Path | None:
    """Checkpoint with the highest number; epochs and iterations do not compare, so the later file wins there."""
    kinds: dict[str, list[tuple[int, Path]]] = {}
    for path in folder.glob('*.pth'):
        match = SAVED.fullmatch(path.name)
        if match:
            kinds.setdefault(match[1], []).append((int(match[2]), path))
    best = [max(found)[1] for found in kinds.values()]
    return max(best, key=lambda path: path.stat().st_mtime, default=None)


def check_resumable(cfg: Config, path: str | Path) -> dict[str, Any]:
    """Compare a checkpoint with the training that is to resume from it.

    mmengine would load the fitting part of the model and all of the optimizer. If old moments are smaller than the new
    weights, the fused step then writes past their end.

    Args:
        cfg: complete config.
        path: the checkpoint.

    Returns:
        its ``meta``.

    Raises:
        UsageError: the file is damaged, not a checkpoint of a training, or has another model or optimizer; one line.
    """
    try:
        content = read_checkpoint(path)
    except (ValueError, OSError) as error:
        raise UsageError(
            f'--resume {path}: it cannot be read: {error}. Remove it to go on from an earlier one'
        ) from error
    absent = [name for name in PARTS if name not in content]
    if absent or not _counts(content['meta']):
        raise UsageError(
            f'--resume {path}: no training can go on from it, as it lacks {", ".join(absent) or "its progress"}. '
            f'--pretrained {path} starts a new training from its weights'
        )
    problem = _other_structure(cfg, content['meta']) or _other_state(cfg, content)
    if problem:
        raise UsageError(
            f'--resume {path}: it was saved by another training: {problem}. --pretrained {path} starts a new one from '
            'its backbone, in another --work-dir'
        )
    return content['meta']


def _counts(meta: Any) -> bool:
    """Whether ``meta`` says how far the training got."""
    return isinstance(meta, dict) and all(type(meta.get(key)) is int and meta[key] >= 0 for key in ('epoch', 'iter'))


def set_resume(cfg: Config, where: str, seed: int | None = None) -> list[str]:
    """Set a config to resume from a checkpoint.

    Args:
        cfg: otherwise complete; changed in place: ``resume``, ``load_from``, seed and loop.
        where: the checkpoint, or 'auto' for the latest in the working directory.
        seed: value of ``--seed``.

    Returns:
        a line that names the checkpoint, or none if 'auto' finds no checkpoint.

    Raises:
        UsageError: see `find_latest` and `check_resumable`; or the seed differs.
    """
    if not where.strip():
        raise UsageError('--resume is empty: give a checkpoint, or --resume alone for the latest of the --work-dir')
    found = find_latest(cfg.work_dir) if where == 'auto' else Path(where).expanduser()
    cfg.resume, cfg.load_from = found is not None, None if found is None else str(found)
    if found is None:
        return []
    if not found.is_file():
        directory = 'it is a directory: give a checkpoint in it, or --resume alone with --work-dir'
        raise UsageError(f'--resume {where}: {directory if found.is_dir() else "there is no such file"}')
    meta = check_resumable(cfg, found)
    before = meta.get('seed')
    if seed is not None and before is not None and seed != before:
        raise UsageError(f'--resume {found}: that training has seed {before}, not {seed}: leave --seed out')
    if before is not None:
        # The order of the data has depended on the seed from the start.
        cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': before}
    if cfg.train_cfg.pop('by_epoch', False) or cfg.train_cfg.get('type') == 'EpochBasedTrainLoop':
        cfg.train_cfg.type = 'SkippingEpochLoop'
    return [f'resuming from {found}, iteration {meta["iter"]}']


def _other_state(cfg: Config, content: dict[str, Any]) -> str:
    """Say how tensors of model or optimizer differ from those that the config makes; '' if they do not."""
    wrapper = copy.deepcopy(cfg.optim_wrapper)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        model = _build(cfg)
        if 'optimizer' not in wrapper:  # several
            return _other_tensors(model, content['state_dict'])
        wrapper.optimizer.pop('fused', None)
        groups = build_optim_wrapper(model, wrapper).optimizer.param_groups
    return _other_tensors(model, content['state_dict']) or _other_optimizer(groups, content['optimizer'])


def _build(cfg: Config) -> nn.Module:
    """Build the model without memory or, if its constructor reads values, with memory."""
    try:
        with torch.device('meta'):
            return MODELS.build(copy.deepcopy(cfg.model))
    except (RuntimeError, NotImplementedError):
        return MODELS.build(copy.deepcopy(cfg.model))


def _other_tensors(model: nn.Module, saved: dict[str, Any]) -> str:
    here = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    there = {name: tuple(tensor.shape) for name, tensor in saved.items()}
    changed = [
        f'{name} is {there.get(name, "absent")} there and {here.get(name, "absent")} here'
        for name in [*here, *(name for name in there if name not in here)]
        if here.get(name) != there.get(name)
    ]
    more = f' (and {len(changed) - 2} more)' if len(changed) > 2 else ''
    return '; '.join(changed[:2]) + more


def _other_optimizer(groups: list[dict], saved: dict[str, Any]) -> str:
    theirs, state = saved.get('param_groups', []), saved.get('state', {})
    if [len(group['params']) for group in groups] != [len(group['params']) for group in theirs]:
        return f'its optimizer has {len(theirs)} groups of parameters and this one {len(groups)}, or other members'
    for group, other in zip(groups, theirs, strict=True):
        if set(group) - {'params'} - set(other):
            return 'its optimizer is of another type'
        for parameter, index in zip(group['params'], other['params'], strict=True):
            for name, value in state.get(index, {}).items():
                if isinstance(value, torch.Tensor) and value.ndim and value.shape != parameter.shape:
                    return (
                        f'its optimizer keeps {name} of {tuple(value.shape)} for a weight of {tuple(parameter.shape)}'
                    )
    return ''


def _other_structure(cfg: Config, meta: dict[str, Any]) -> str:
    """Say which setting of the model differs without changing shapes; '' if none does."""
    try:
        saved = read_model_config(meta['cfg']) if meta.get('cfg') else {}
    except ValueError:
        return ''
    for path, value in _settings(cfg.model.to_dict(), 'model'):
        before = _look_up(saved, path.split('.')[1:])
        if path.split('.')[-1] in STRUCTURE and before is not None and plain(before) != plain(value):
            return f'{path} is {before!r} there and {value!r} here'
    return ''


def _settings(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f'{path}.{key}', value
            yield from _settings(value, f'{path}.{key}')


def _look_up(node: Any, keys: list[str]) -> Any:
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node
