"""After a resume, use the config's schedule and rates, at the checkpoint's iteration."""

import copy
from typing import Any

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner

from backbones.console.errors import UsageError

# State that changes as a scheduler steps; the rest of its state is the schedule itself.
MOVING = ('last_step', '_global_step', '_last_value', 'verbose')


@HOOKS.register_module()
class FollowConfig(Hook):
    """Train with the config's rates and schedule after a resume, if those in the checkpoint differ.

    mmengine takes both from the checkpoint and would silently drop a lower lr, a longer training or another weight
    decay. Here the config's schedule is stepped to the checkpoint's iteration, so that the rest of the training is that
    of an uninterrupted run of the config.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Called by the runner, after optimizer and schedulers are built but before the checkpoint is loaded."""
        self.follows = isinstance(runner.optim_wrapper, OptimWrapper)  # several optimizers go on as they are
        if not self.follows:
            return
        self.groups = [_settings(group) for group in runner.optim_wrapper.optimizer.param_groups]
        self.schedulers = [copy.deepcopy(scheduler.state_dict()) for scheduler in runner.param_schedulers or []]

    def before_train(self, runner: Runner) -> None:
        """Called by the runner, after the checkpoint is loaded.

        Raises:
            UsageError: the checkpoint had another number of iterations per epoch, or is beyond the end.
        """
        if not runner.iter:
            return
        check_epoch_length(runner)
        check_end(runner)
        if not self.follows:
            return
        changes = [*_changed_settings(self.groups, runner), *_changed_schedules(self.schedulers, runner)]
        if not changes:
            return
        _restart(self.groups, self.schedulers, runner)
        runner.logger.warning(
            f'resumed at iteration {runner.iter} with what the config says, not the checkpoint: {"; ".join(changes)}. '
            f'The lr is now {max(group["lr"] for group in runner.optim_wrapper.optimizer.param_groups):.4g}'
        )


def check_epoch_length(runner: Runner) -> None:
    """Refuse a checkpoint whose epochs have another number of iterations.

    Raises:
        UsageError: the message gives both numbers.
    """
    loop = runner.train_loop
    if not isinstance(loop, EpochBasedTrainLoop):
        return
    length = len(loop.dataloader)
    if not 0 <= runner.iter - runner.epoch * length <= length:
        raise UsageError(
            f'--resume: the checkpoint stands at iteration {runner.iter} after {runner.epoch} epochs, and an epoch has '
            f'{length} iterations here: batch size, processes or data have changed. Set them as they were (batch size '
            'times processes counts), or start a new training with --pretrained'
        )


def check_end(runner: Runner) -> None:
    """Warn if nothing is left to train.

    Raises:
        UsageError: the checkpoint was trained for longer than the config asks for.
    """
    loop = runner.train_loop
    epochs = isinstance(loop, EpochBasedTrainLoop)
    done, end, unit = (
        (runner.epoch, runner.max_epochs, 'epochs') if epochs else (runner.iter, runner.max_iters, 'iters')
    )
    if done > end:
        raise UsageError(f'--resume: the checkpoint has {done} {unit}, and the training ends at {end}: give --{unit} N')
    if done == end:
        runner.logger.warning(f'the checkpoint has all {end} {unit}: nothing is left to train; --{unit} N goes on')


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: copy.deepcopy(value) for name, value in group.items() if name != 'params'}


def _changed_settings(groups: list[dict[str, Any]], runner: Runner) -> list[str]:
    """Changed settings of the optimizer, except the current rate, which the schedule changes."""
    found: dict[str, str] = {}
    for group, loaded in zip(groups, runner.optim_wrapper.optimizer.param_groups, strict=True):
        for name, value in group.items():
            if name not in ('lr', 'fused', 'foreach') and plain(loaded.get(name)) != plain(value):
                found.setdefault(name, f'{name} {loaded.get(name)} -> {value}')
    if not any('initial_lr' in group for group in groups):
        rates = [(group['lr'], loaded['lr']) for group, loaded in zip(groups, _groups(runner), strict=True)]
        found.update([('lr', f'lr {old} -> {new}') for new, old in rates if new != old])
    return list(found.values())


def _changed_schedules(states: list[dict[str, Any]], runner: Runner) -> list[str]:
    found = []
    for index, (state, scheduler) in enumerate(zip(states, runner.param_schedulers or [], strict=True)):
        loaded = scheduler.state_dict()
        if loaded['last_step'] == state['last_step'] and (runner.epoch if scheduler.by_epoch else runner.iter):
            found.append(f'param_scheduler.{index}, which the checkpoint lacks')
        names = [name for name in state if name not in (*MOVING, 'base_values') and state[name] != loaded.get(name)]
        found += [f'param_scheduler.{index}.{name} {loaded.get(name)} -> {state[name]}' for name in names]
    return found


def plain(value: Any) -> Any:
    """Make lists and tuples with the same members equal."""
    return tuple(value) if isinstance(value, list | tuple) else value


def _groups(runner: Runner) -> list[dict[str, Any]]:
    return runner.optim_wrapper.optimizer.param_groups


def _restart(groups: list[dict[str, Any]], states: list[dict[str, Any]], runner: Runner) -> None:
    """Reset optimizer and schedulers to their start, and step them to the runner's iteration."""
    for group, fresh in zip(_groups(runner), groups, strict=True):
        group.update(fresh)
    for scheduler, state in zip(runner.param_schedulers or [], states, strict=True):
        scheduler.load_state_dict(copy.deepcopy(state))
    by_iteration = [scheduler for scheduler in runner.param_schedulers or [] if not scheduler.by_epoch]
    by_epoch = [scheduler for scheduler in runner.param_schedulers or [] if scheduler.by_epoch]
    length = len(runner.train_loop.dataloader) if isinstance(runner.train_loop, EpochBasedTrainLoop) else 0
    # Step after each iteration and after each epoch, as mmengine's ParamSchedulerHook does.
    for iteration in range(1, runner.iter + 1):
        for scheduler in by_iteration:
            scheduler.step()
        if length and iteration % length == 0:
            for scheduler in by_epoch:
                scheduler.step()
