"""Set length, batch and rate of a training in every place of a config that they concern."""

import math
from collections.abc import Callable
from typing import Any

from mmengine.config import Config

from backbones.engine.schedule.parts import (
    accumulation,
    checkpoint_hooks,
    counts_iterations,
    hooks_of,
    kind,
    schedulers,
)

# Arguments that are points in time: of schedulers, and of hooks.
POINTS = ('begin', 'end', 'T_max', 'step_size', 'total_steps', 'milestones', 'periods')
HOOK_POINTS = ('begin', 'begin_iter', 'begin_epoch', 'switch_iter', 'switch_epoch')
SHORTEST_WARM_UP = 2  # iterations: the first at the lowest rate, the second at the full one
Scale = Callable[[float], float]


def set_batch_size(cfg: Config, images: int) -> list[str]:
    """Set the number of images of one process in one iteration."""
    cfg.train_dataloader.batch_size = _at_least_one('batch-size', images)
    return [f'train_dataloader.batch_size = {images}']


def set_lr(cfg: Config, rate: float) -> list[str]:
    """Set the learning rate as the config gives it, for ``auto_scale_lr.base_batch_size`` images.

    Raises:
        ValueError: the rate is not positive, or not above an absolute floor of the schedule; or there are several
            optimizers.
    """
    if not 0 < rate < math.inf:
        raise ValueError(f'--lr {rate} is {"not above 0" if rate != math.inf else "no number"}')
    for index, entry in enumerate(schedulers(cfg)):
        floor = entry.get('eta_min') or 0
        if floor >= rate:
            raise ValueError(f'--lr {rate} is not above param_scheduler.{index}.eta_min={floor}, where it is to end')
    if 'optimizer' not in cfg.optim_wrapper:
        raise ValueError(f'--lr {rate}: this config has several optimizers, set each lr by --cfg-options')
    cfg.optim_wrapper.optimizer.lr = rate
    return [f'optim_wrapper.optimizer.lr = {rate}']


def set_epochs(cfg: Config, epochs: int, images: int = 0, per_iteration: int = 1) -> list[str]:
    """Train for a number of passes over the data; warm-up and steps of the rate keep their shares of the length.

    Args:
        cfg: changed in place: loop, schedulers, hooks and intervals.
        epochs: number of passes.
        images: number of images in the data; used if the config counts iterations.
        per_iteration: images of all processes in one iteration; used if the config counts iterations.
    """
    _at_least_one('epochs', epochs)
    if counts_iterations(cfg):
        updates = max(1, round(epochs * images / per_iteration / accumulation(cfg)))
        return set_iters(cfg, updates)
    factor = epochs / cfg.train_cfg.max_epochs
    cfg.train_cfg.max_epochs = epochs
    for entry in schedulers(cfg):
        whole = not entry.get('convert_to_iter_based') or not entry.get('by_epoch', True)
        _rescale(entry, lambda point, whole=whole: _scaled(point, factor, whole))  # type: ignore[misc]
    _rescale_hooks(cfg, factor)
    _fit_intervals(cfg, factor, epochs)
    return _told_length(cfg, f'{epochs} epochs')


def set_iters(cfg: Config, updates: int) -> list[str]:
    """Train for a number of updates of the weights; warm-up and steps of the rate keep their shares of the length.

    Args:
        cfg: changed in place: loop, schedulers, hooks and intervals. With accumulation each update takes several
            iterations.
        updates: number of updates.

    Raises:
        ValueError: the config counts epochs.
    """
    _at_least_one('iters', updates)
    if not counts_iterations(cfg):
        raise ValueError(f'--iters {updates}: this config counts epochs, give --epochs')
    total = updates * accumulation(cfg)
    factor = _set_iterations(cfg, total)
    _fit_intervals(cfg, factor, total)
    _shorten_logs(cfg, total)
    return _told_length(cfg, f'{updates} updates')


def set_accumulation(cfg: Config, count: int) -> list[str]:
    """Update the weights every ``count`` iterations, with the same total number of updates as before.

    A loop that counts iterations gets ``count`` times as many, and so do schedulers, validation and hooks. Checkpoints
    keep their interval in iterations, so that a crash loses no more, rounded up to whole updates, since accumulated
    gradients are not saved. A loop of epochs keeps its length.
    """
    _at_least_one('accumulate', count)
    before = accumulation(cfg)
    cfg.optim_wrapper.accumulative_counts = count
    told = [f'optim_wrapper.accumulative_counts = {count}']
    for hook in hooks_of(cfg):
        if kind(hook) == 'EMAHook':
            # An average over iterations would count the same weights several times.
            hook.interval = round(hook.get('interval', 1) * count / before)
    if not counts_iterations(cfg):
        return told
    updates = cfg.train_cfg.max_iters / before
    factor = _set_iterations(cfg, round(updates * count))
    for name in ('val_interval', 'val_begin'):
        if name in cfg.train_cfg:
            cfg.train_cfg[name] = round(cfg.train_cfg[name] * factor)
    for hook in checkpoint_hooks(cfg):
        hook.interval = -(-hook.get('interval', -1) // count) * count
    return [*told, *_told_length(cfg, f'{updates:g} updates')]


def save_before_validation(cfg: Config) -> list[str]:
    """Save at least as often as the config validates, so that a failing validation loses nothing."""
    every = (cfg.get('train_cfg') or {}).get('val_interval')
    told = []
    for hook in checkpoint_hooks(cfg) if every and cfg.get('val_dataloader') else ():
        if hook.get('interval', -1) > every:
            hook.interval = every
            unit = 'iterations' if counts_iterations(cfg) else 'epochs'
            told.append(f'a checkpoint every {every} {unit}, before each validation')
    return told


def _set_iterations(cfg: Config, total: int) -> float:
    """Stretch loop, schedulers and hooks to a number of iterations; return the factor of the length."""
    factor = total / cfg.train_cfg.max_iters
    cfg.train_cfg.max_iters = total
    for entry in schedulers(cfg):
        # Schedulers in epochs stay as they were, since a loop of iterations has only one epoch.
        if not entry.get('by_epoch', True):
            _rescale(entry, lambda point: _scaled(point, factor, whole=True))
            if 'milestones' in entry:
                entry.milestones = [step for step in entry.milestones if step < total]
    _keep_warm_up(schedulers(cfg), total)
    _rescale_hooks(cfg, factor)
    return factor


def _keep_warm_up(entries: list[Any], total: int) -> None:
    """Extend a warm-up that is too short in a short run to its least length or, if that does not fit, turn it off."""
    for index, entry in enumerate(entries):
        begin, end = entry.get('begin', 0), entry.get('end', total)
        if kind(entry) != 'LinearLR' or end - begin >= SHORTEST_WARM_UP:
            continue
        fits = begin + 2 * SHORTEST_WARM_UP <= total
        later = begin + SHORTEST_WARM_UP if fits else min(begin + 1, total)
        for follower in entries[index + 1 :]:
            if follower.get('begin') == end:
                follower.begin = later if fits else begin
        entry.end = later
        if not fits:
            entry.update(start_factor=1.0)


def _rescale(entry: Any, scale: Scale) -> None:
    for name in POINTS:
        value = entry.get(name)
        if isinstance(value, list | tuple):
            entry[name] = [scale(point) for point in value]
        elif value is not None:
            entry[name] = scale(value)


def _scaled(point: float, factor: float, whole: bool) -> float:
    """Scale a point in time to the new length; a point after the beginning stays after it."""
    value = point * factor
    nearest = round(value)
    if whole or abs(value - nearest) < 1e-9 * max(1, nearest):
        return max(nearest, 1 if point > 0 else 0)
    return value


def _rescale_hooks(cfg: Config, factor: float) -> None:
    """Scale the points in time of hooks with the length."""
    for hook in hooks_of(cfg):
        for name in [*HOOK_POINTS, *(key for key in hook if key.endswith('_iters'))]:
            if isinstance(hook.get(name), int):
                hook[name] = int(_scaled(hook[name], factor, whole=True))


def _fit_intervals(cfg: Config, factor: float, total: int) -> None:
    """Shorten intervals of validation and saving in a shorter run, to at most ten times; a longer run keeps them."""
    train = cfg.train_cfg
    for name in ('val_interval', 'val_begin'):
        if name in train:
            train[name] = _interval(train[name], factor, total)
    if train.get('dynamic_intervals'):
        train.dynamic_intervals = [
            (int(_scaled(begin, factor, whole=True)), _interval(interval, factor, total))
            for begin, interval in train.dynamic_intervals
        ]
    for hook in checkpoint_hooks(cfg):
        hook.interval = _interval(hook.get('interval', -1), factor, total)


def _interval(interval: int, factor: float, total: int) -> int:
    if interval < 1:
        return interval
    return max(1, min(total, max(round(interval * min(factor, 1)), min(interval, total // 10))))


def _shorten_logs(cfg: Config, total: int) -> None:
    logger = (cfg.get('default_hooks') or {}).get('logger')
    if logger is not None:
        logger.interval = min(logger.get('interval', 10), max(1, total // 10))


def _told_length(cfg: Config, length: str) -> list[str]:
    train = cfg.train_cfg
    count, name = (train.max_iters, 'max_iters') if counts_iterations(cfg) else (train.max_epochs, 'max_epochs')
    points = [
        f'{kind(entry)} from {entry.get("begin", 0):g}'
        + (f' to {entry["end"]:g}' if 'end' in entry else '')
        + (f', steps at {", ".join(f"{step:g}" for step in entry["milestones"])}' if 'milestones' in entry else '')
        for entry in schedulers(cfg)
    ]
    return [f'{length}: train_cfg.{name} = {count}; {"; ".join(points) or "no param_scheduler"}']


def _at_least_one(flag: str, value: int) -> int:
    if value < 1:
        raise ValueError(f'--{flag} {value} is below 1')
    return value
