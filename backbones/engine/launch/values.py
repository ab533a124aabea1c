"""Refuse config values that mmengine or PyTorch would accept, but ignore or misinterpret."""

import math
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook

from backbones.console.errors import UsageError

LEVELS = ('DEBUG', 'INFO', 'WARN', 'WARNING', 'ERROR', 'FATAL', 'CRITICAL', 'NOTSET')


def check_values(cfg: Config) -> None:
    """Check lengths, intervals, the optimizer's numbers, hooks and the log level.

    Raises:
        UsageError: the message names the key, its value and what is allowed.
    """
    loop, wrapper = _dict(cfg, 'train_cfg'), _dict(cfg, 'optim_wrapper')
    for key in ('max_epochs', 'max_iters', 'val_interval'):
        _need(loop.get(key), _is_count, f'train_cfg.{key}', 'a whole number above 0')
    checkpoint = _dict(_dict(cfg, 'default_hooks'), 'checkpoint')
    _need(
        checkpoint.get('interval'), _is_interval, 'default_hooks.checkpoint.interval', 'a whole number above 0, or -1'
    )
    _need(wrapper.get('accumulative_counts'), _is_count, 'optim_wrapper.accumulative_counts', 'a whole number above 0')
    _check_optimizer(wrapper)
    _need(cfg.get('log_level'), _is_level, 'log_level', 'one of DEBUG, INFO, WARNING, ERROR, CRITICAL')
    _check_hooks(cfg.get('custom_hooks'))


def _check_optimizer(wrapper: Any) -> None:
    where = 'optim_wrapper.optimizer'
    if 'optimizer' in wrapper and not isinstance(wrapper['optimizer'], dict):
        raise UsageError(f'{where}={wrapper["optimizer"]!r}: it has to be a dict with type and lr')
    optimizer, clip = _dict(wrapper, 'optimizer'), _dict(wrapper, 'clip_grad')
    _need(optimizer.get('lr'), _is_rate, f'{where}.lr', 'a number from 0')
    _need(optimizer.get('betas'), _are_betas, f'{where}.betas', 'two numbers from 0, below 1, such as (0.9,0.95)')
    for key in ('max_norm', 'clip_value'):
        # A negative bound would reverse every step.
        _need(clip.get(key), _is_bound, f'optim_wrapper.clip_grad.{key}', 'a number above 0')


def _check_hooks(hooks: Any) -> None:
    if hooks is not None and not isinstance(hooks, list | tuple):
        raise UsageError(f'custom_hooks={hooks!r}: it has to be a list; custom_hooks+=dict(type=...) adds one hook')
    for index, hook in enumerate(hooks or ()):
        if not isinstance(hook, Hook) and not (isinstance(hook, dict) and hook.get('type')):
            raise UsageError(f'custom_hooks.{index}={hook!r} is no hook: it has to be a dict with type')


def _need(value: Any, fits: Any, key: str, what: str) -> None:
    if value is not None and not fits(value):
        raise UsageError(f'{key}={value!r}: it has to be {what}')


def _dict(node: Any, key: str) -> Any:
    value = node.get(key)
    return value if isinstance(value, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_interval(value: Any) -> bool:
    return value == -1 or _is_count(value)


def _is_rate(value: Any) -> bool:
    return _is_number(value) and 0 <= value < math.inf


def _is_bound(value: Any) -> bool:
    return _is_number(value) and value > 0


def _are_betas(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) >= 2 and all(_is_rate(each) and each < 1 for each in value)


def _is_level(value: Any) -> bool:
    return isinstance(value, int) or value in LEVELS
