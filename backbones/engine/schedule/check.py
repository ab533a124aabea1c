"""Refuse schedules that cannot do what they say, before any training."""

from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.runner import Runner

from backbones.console.errors import UsageError
from backbones.engine.schedule.lengths import SHORTEST_WARM_UP
from backbones.engine.schedule.parts import counts_iterations, kind, schedulers

FOR_EVER = 1e9  # mmengine's value for a scheduler without end


class Span(NamedTuple):
    """When a scheduler acts, in the unit of its steps."""

    begin: float
    end: float
    total: float  # length of the training in the same unit
    unit: str
    scale: float  # factor for points in the config


def check_schedule(cfg: Config, epoch_length: int | None = None) -> list[str]:
    """Compare the learning-rate schedule with the length of the training.

    Args:
        cfg: complete config.
        epoch_length: iterations of an epoch; None while the data are unknown, which skips checks that need it.

    Returns:
        lines about what is unusual.

    Raises:
        UsageError: a warm-up never ends, or has a single step, which would leave the rate at its start; the training
            does not reach an end or a step; or the rate is zero before the end.
    """
    if not cfg.get('train_cfg'):
        return []
    for index, entry in enumerate(schedulers(cfg)):
        span = _span(cfg, entry, epoch_length)
        problem = span and _problem(entry, span)
        if problem:
            raise UsageError(f'param_scheduler.{index} ({kind(entry)}) {problem}. {_way_out(cfg)}')
    return _early_end(cfg, epoch_length)


def check_built(runner: Runner, stretched: bool = False) -> list[str]:
    """Do `check_schedule` once the data are known, and check that they fill a batch; call before ``runner.train``.

    Args:
        runner: built from a complete config.
        stretched: a flag has set the epochs; a warm-up left with less than two iterations is then extended to two.

    Raises:
        UsageError: see `check_schedule`; or the data do not fill a batch.
    """
    loader = runner.train_loop.dataloader
    try:
        length = len(loader)
    except TypeError:  # streams have none
        return []
    if length == 0:
        raise UsageError(
            f'{len(loader.dataset)} images on {runner.world_size} processes are fewer than a batch of '
            f'{loader.batch_size} in each, and drop_last=True leaves out what does not fill one: give a smaller '
            '--batch-size, or train_dataloader.drop_last=False'
        )
    if stretched and not counts_iterations(runner.cfg):
        for entries in (schedulers(runner.cfg), runner.param_schedulers or []):
            _keep_warm_up(entries, length, runner.cfg.train_cfg.max_epochs * length)
    return check_schedule(runner.cfg, length)


def _keep_warm_up(entries: Any, epoch_length: int, total: int) -> None:
    """Extend a warm-up that is too short in a short run to two iterations or, if these do not fit, turn it off."""
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        begin, end = int(entry.get('begin', 0) * epoch_length), int(entry.get('end', FOR_EVER) * epoch_length)
        if not entry.get('convert_to_iter_based') or not is_warm_up(entry) or end - begin >= SHORTEST_WARM_UP:
            continue
        fits = begin + 2 * SHORTEST_WARM_UP <= total
        # Add half an iteration, as mmengine rounds down.
        later = (begin + SHORTEST_WARM_UP + 0.5) / epoch_length
        for follower in entries[index + 1 :]:
            if follower.get('begin') == entry.end:
                follower['begin'] = later if fits else entry.get('begin', 0)
        entry['end'] = later if fits else (begin + 1.5) / epoch_length
        if not fits:
            entry['start_factor'] = 1.0


def is_warm_up(entry: Any) -> bool:
    """Whether a scheduler only raises the rate."""
    if 'Linear' in kind(entry):
        return entry.get('start_factor', 1 / 3) < entry.get('end_factor', 1.0)
    return 'Constant' in kind(entry) and entry.get('factor', 1 / 3) < 1


def _span(cfg: Config, entry: Any, epoch_length: int | None) -> Span | None:
    """When a scheduler acts; None if this depends on unknown data."""
    iterations, by_epoch = counts_iterations(cfg), entry.get('by_epoch', True)
    converted = by_epoch and entry.get('convert_to_iter_based', False)
    if epoch_length is None and by_epoch == iterations and (converted or not by_epoch):
        return None
    scale = epoch_length if converted and epoch_length is not None else 1
    if by_epoch and not converted:
        # A loop of iterations has no epochs.
        total, unit = 0 if iterations else cfg.train_cfg.max_epochs, 'epochs'
    elif iterations:
        total, unit = cfg.train_cfg.max_iters, 'iterations'
    elif epoch_length is None:
        total, unit = cfg.train_cfg.max_epochs, 'epochs'
    else:
        total, unit = cfg.train_cfg.max_epochs * epoch_length, 'iterations'
    begin, end = entry.get('begin', 0), entry.get('end', FOR_EVER)
    if converted and epoch_length is not None:
        begin, end = int(begin * scale), int(end * scale)  # as mmengine rounds
    end = total if entry.get('end', FOR_EVER) >= FOR_EVER else end
    return Span(begin, end, total, unit, scale)


def _problem(entry: Any, span: Span) -> str:
    """Say what a scheduler cannot do; '' if all is well."""
    begin, end, total, unit, scale = span
    if total == 0:
        return f'counts {unit}, and a loop of iterations knows none: it would never act (by_epoch=False counts those)'
    if is_warm_up(entry) and end >= total and end > begin:
        return f'warms up for {end:g} of {total:g} {unit}: nothing is left at its full rate'
    if begin >= total:
        return f'begins at {begin:g} of {total:g} {unit}: it never acts'
    if end <= begin:
        return f'begins at {begin:g} {unit} and ends at {end:g}: it never acts'
    if end > total:
        return f'is planned for {end:g} {unit} and training has {total:g}'
    late = [step for step in entry.get('milestones', ()) if step * scale >= total]
    if late:
        return f'has steps at {", ".join(f"{step:g}" for step in late)} that training ({total:g} {unit}) does not reach'
    fractions = unit == 'epochs' and entry.get('convert_to_iter_based')  # its steps are iterations, still unknown
    if is_warm_up(entry) and end - begin < 2 and not fractions:
        return f'warms up for one of {total:g} {unit}: a single step leaves the rate at its start for good'
    return ''


def _early_end(cfg: Config, epoch_length: int | None) -> list[str]:
    """Write a line about a rate that stays at its floor for a part of the training.

    Raises:
        UsageError: the floor is zero.
    """
    spans = [(entry, _span(cfg, entry, epoch_length)) for entry in schedulers(cfg) if 'LR' in kind(entry)]
    known = [(entry, span) for entry, span in spans if span is not None]
    if len(known) < len(spans) or not known:
        return []
    entry, span = max(known, key=lambda pair: pair[1].end / pair[1].total)
    if span.end >= span.total or is_warm_up(entry):
        return []
    rest = f'{span.total - span.end:g} of {span.total:g} {span.unit}'
    if _floor(entry) == 0:
        raise UsageError(
            f'the learning rate is planned for {span.end:g} {span.unit} and training has {span.total:g}: the last '
            f'{rest} would train at a rate of 0. {_way_out(cfg)}'
        )
    return [f'the learning rate stays at its floor for the last {rest}']


def _floor(entry: Any) -> float:
    """Final value of a scheduler: 0 or above."""
    if 'Linear' in kind(entry):
        return entry.get('end_factor', 1.0)
    if 'Cosine' in kind(entry) or 'Poly' in kind(entry):
        return entry.get('eta_min') or entry.get('eta_min_ratio') or 0.0
    return 1.0


def _way_out(cfg: Config) -> str:
    flag = '--iters' if counts_iterations(cfg) else '--epochs'
    return f'{flag} N sets loop and schedule together; --cfg-options param_scheduler.INDEX.end=N sets one end'
