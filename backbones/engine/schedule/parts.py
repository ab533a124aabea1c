"""Read a config's schedule in any form: the loop's unit, schedulers and hooks."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from backbones.data.pointing.datasets import type_name


def counts_iterations(cfg: Config) -> bool:
    """Whether the loop counts iterations, not epochs.

    Raises:
        ValueError: the config sets neither.
    """
    train = cfg.get('train_cfg') or {}
    if train.get('max_iters') is None and train.get('max_epochs') is None:
        raise ValueError('train_cfg has neither max_iters nor max_epochs')
    return train.get('max_iters') is not None


def accumulation(cfg: Config) -> int:
    """Number of iterations for each update of the weights."""
    return cfg.optim_wrapper.get('accumulative_counts', 1)


def schedulers(cfg: Config) -> list[Any]:
    """Entries of ``param_scheduler``, which may be a list, a dict, a dict of these per optimizer, or absent."""
    entries = cfg.get('param_scheduler') or []
    if isinstance(entries, dict) and 'type' not in entries:
        return [entry for value in entries.values() for entry in (value if isinstance(value, list) else [value])]
    return list(entries) if isinstance(entries, list | tuple) else [entries]


def kind(entry: Any) -> str:
    """Name of an entry's class without its scope; Python-style configs hold the class itself."""
    return type_name(entry) if entry.get('type') else ''


def checkpoint_hooks(cfg: Config) -> list[Any]:
    """Checkpoint hooks that count in the unit of the loop."""
    unit = not counts_iterations(cfg)
    return [hook for hook in hooks_of(cfg) if 'CheckpointHook' in kind(hook) and hook.get('by_epoch', True) == unit]


def hooks_of(cfg: Config) -> Iterator[Any]:
    """Default and custom hooks that are given as configs."""
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    return (hook for hook in hooks if isinstance(hook, dict))
