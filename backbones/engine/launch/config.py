"""Read a config file and apply the options of the command line."""

import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from backbones.console.errors import UsageError, one_line
from backbones.console.places import find_config
from backbones.engine.launch.keys import name_classes
from backbones.engine.launch.options import apply_options, slip_of

# Keys that mmengine reads in addition to the arguments of its Runner.
EXTRA_KEYS = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
}
RUNNER_KEYS = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'} | EXTRA_KEYS
HOOKS_OF_MMENGINE = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
SUFFIXES = ('.py', '.yml', '.yaml', '.json')


def read_config(path: str | Path, options: dict[str, Any] | None = None, work_dir: str | None = None) -> Config:
    """Read a config file, apply ``--cfg-options`` and choose the working directory.

    Raises:
        UsageError: see `open_config`.
    """
    return open_config(path, options, work_dir)[0]


def open_config(
    path: str | Path, options: dict[str, Any] | None = None, work_dir: str | None = None
) -> tuple[Config, list[str]]:
    """Do `read_config`, and return lines about unused keys too.

    Raises:
        UsageError: the file is absent or broken, an option leads nowhere, or a top-level key is nearly one that a
            runner reads. Other keys count as variables of the file, as OpenMMLab's configs have them.
    """
    path = find_config(path)
    if path.is_dir():
        raise UsageError(f'config {path}: it is a directory: give a file in it')
    if path.suffix not in SUFFIXES:
        raise UsageError(f'config {path}: its name ends in none of {", ".join(SUFFIXES)}')
    try:
        cfg = Config.fromfile(path)
    # A config is code, so any exception is possible.
    except Exception as error:
        name, text = type(error).__name__, one_line(error)
        if isinstance(error, RecursionError):
            text = 'it is its own _base_, by itself or through others'
        said = text if text.startswith((name, 'it is its own')) else f'{name}: {text}'
        raise UsageError(f'config {path}: {said}') from error
    name_classes(cfg)
    _refuse_slips(cfg, path)
    _refuse_unread(cfg, options or {}, path)
    told = [*_tell_unread(cfg), *apply_options(cfg, options or {})]
    _drop_hooks(cfg)
    if work_dir is not None and not work_dir.strip():
        raise UsageError('--work-dir is empty: give a directory')
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs') / path.stem)
    _check_work_dir(Path(cfg.work_dir))
    return cfg, told


def _check_work_dir(path: Path) -> None:
    """Refuse a path where no directory can be created."""
    there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    if not there.is_dir():
        raise UsageError(f'work_dir {path}: {there} is a file, and no directory')
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f'work_dir {path}: you may not write into {there}')


def require_keys(cfg: Config, keys: Sequence[str], path: str | Path) -> None:
    """Refuse an incomplete config.

    Raises:
        UsageError: the message names the missing keys.
    """
    absent = [key for key in keys if cfg.get(key) is None]
    if absent:
        raise UsageError(f'config {path} has no {", no ".join(absent)}: it is a part of a config, or an empty one')
    odd = [key for key in keys if not isinstance(cfg[key], dict)]
    if odd:
        raise UsageError(f'config {path}: {odd[0]}={cfg[odd[0]]!r}: it has to be a dict')


def unknown_keys(cfg: Config) -> list[str]:
    """Top-level keys that neither mmengine's Runner nor its Config reads."""
    return sorted(set(cfg.keys()) - RUNNER_KEYS)


def _drop_hooks(cfg: Config) -> None:
    """Let ``default_hooks.NAME=None`` remove any hook; mmengine allows this for its own hooks only."""
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None and name not in HOOKS_OF_MMENGINE]:
        hooks.pop(name)


def _tell_unread(cfg: Config) -> list[str]:
    unknown = unknown_keys(cfg)
    return [f'no part of a runner, taken for variables of the config: {", ".join(unknown)}'] if unknown else []


def _refuse_slips(cfg: Config, path: Path) -> None:
    for key in unknown_keys(cfg):
        meant = _meant(key)
        # Variables named after the key that they help to build: val_evaluator_abs, models.
        built_on = meant and meant in cfg and (key.startswith(f'{meant}_') or key == f'{meant}s')
        if meant and not built_on:
            raise UsageError(f'config {path}: nothing reads {key}; did you mean {meant}?')


def _refuse_unread(cfg: Config, options: dict[str, Any], path: Path) -> None:
    """Refuse options that change nothing: setting a variable of the file has no effect once the file is read."""
    for name in options:
        key = name.removesuffix('+').partition('.')[0]
        if key not in RUNNER_KEYS:
            meant = _meant(key)
            hint = f'did you mean {meant}?' if meant else f'known are {", ".join(sorted(RUNNER_KEYS))}'
            own = ' once the file is read: it is a variable of the config' if key in cfg else ''
            raise UsageError(f'--cfg-options {name}: nothing reads {key}{own}; {hint}')
    model = cfg.get('model')
    nested = isinstance(model, dict) and model.get('data_preprocessor')
    if nested and any(name.startswith('data_preprocessor') for name in options):
        raise UsageError(f'config {path}: the model has its own data_preprocessor: set model.data_preprocessor')


def _meant(key: str) -> str | None:
    return slip_of(key, sorted(RUNNER_KEYS))
