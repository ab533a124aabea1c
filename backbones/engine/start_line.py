"""Log a line at the start of a training that describes it, and soon after a line with its expected end."""

import datetime
import time
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from backbones.engine.schedule.parts import accumulation, counts_iterations


@HOOKS.register_module()
class StartLine(Hook):
    """Log effective batch, resolved lr, updates, epochs and end of a training, as the built runner has them.

    Warns if the effective batch is not the one that the lr is for. After 20 iterations the speed is known, and a second
    line tells the time of the end.
    """

    iterations = 20

    def before_train(self, runner: Runner) -> None:
        """Called by the runner, after optimizer and schedulers are built and a checkpoint is loaded."""
        line, *warnings = describe(runner)
        runner.logger.info(line)
        for warning in warnings:
            runner.logger.warning(warning)
        self.first, self.started = runner.iter, 0.0

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Called by the runner."""
        done = runner.iter + 1 - self.first
        if done == 1:
            self.started = time.time()  # the first iteration also starts workers and picks kernels
        elif done == self.iterations + 1:
            pace = (time.time() - self.started) / self.iterations
            left = datetime.timedelta(seconds=round(pace * (runner.max_iters - runner.iter - 1)))
            end = datetime.datetime.now().astimezone() + left
            print_log(
                f'expected end: {end:%Y-%m-%d %H:%M} ({pace:.3g} s an iteration, {left} to go, without validation)',
                'current',
            )


def describe(runner: Runner) -> list[str]:
    """Describe a training in one line, followed by warnings about it.

    Args:
        runner: a runner whose loop, optimizer and schedulers are built.
    """
    cfg, loop = runner.cfg, runner.train_loop
    batch, count, repeats = loop.dataloader.batch_size or 1, accumulation(cfg), repeated(cfg)
    effective = runner.world_size * batch * count * repeats
    factors = f'{runner.world_size} processes x {batch} images x {count} iterations an update'
    factors += f' x {repeats} crops of an image' if repeats > 1 else ''
    groups = runner.optim_wrapper.optimizer.param_groups if isinstance(runner.optim_wrapper, OptimWrapper) else []
    rate = max((group.get('initial_lr', group['lr']) for group in groups), default=0.0)
    images = runner.world_size * batch * loop.max_iters
    epochs = loop.max_epochs if not counts_iterations(cfg) else images / max(1, len(loop.dataloader.dataset))
    scale = cfg.get('auto_scale_lr') or {}
    line = (
        f'training: effective batch {effective} ({factors}), {_told_rate(cfg, scale, rate)}, '
        f'{-(-loop.max_iters // count)} updates in {loop.max_iters} iterations, {epochs:.4g} epochs of the data, '
        f'ends after iteration {loop.max_iters}'
    )
    line += f'; {runner.iter} of them are done' if runner.iter else ''
    return [line, *_warnings(cfg, scale, rate, effective // repeats if scale.get('enable') else effective)]


def repeated(cfg: Any) -> int:
    """Number of crops drawn from each decoded image."""
    return cfg.train_dataloader.dataset.get('repeats', 1) or 1


def count_repeats(cfg: Any) -> list[str]:
    """Make the scaled lr count the crops of each image, as it counts images, processes and accumulation.

    Returns:
        a line that says so, if there are several crops.
    """
    repeats, scale = repeated(cfg), cfg.get('auto_scale_lr') or {}
    if repeats == 1 or not scale.get('enable') or not scale.get('base_batch_size'):
        return []
    scale['base_batch_size'] /= repeats
    return [f'the lr counts {repeats} crops of each image']


def _told_rate(cfg: Any, scale: dict, rate: float) -> str:
    base = scale.get('base_batch_size')
    if 'optimizer' not in cfg.optim_wrapper:
        return 'several optimizers'
    if base is None:
        return f'lr {rate:.4g} (the config does not say for which batch)'
    if not scale.get('enable'):
        return f'lr {rate:.4g} ({cfg.optim_wrapper.optimizer.lr:.4g} for {base} images)'
    # Undo the division in `count_repeats`.
    crops = base * repeated(cfg)
    return f'lr {rate:.4g} ({cfg.optim_wrapper.optimizer.lr:.4g} for {crops:g} images, scaled)'


def _warnings(cfg: Any, scale: dict, rate: float, batch: int) -> list[str]:
    base, asked = scale.get('base_batch_size'), (cfg.optim_wrapper.get('optimizer') or {}).get('lr')
    if base is None or not asked:
        return []
    if not scale.get('enable') and batch != base:
        return [
            f'the recipe is for a batch of {base} images, the effective batch has {batch}, and the lr {rate:.4g} is '
            f'used as it is: change the batch (--batch-size, --accumulate, more processes) or fit the rate (--lr)'
        ]
    if scale.get('enable') and abs(rate / (asked * batch / base) - 1) > 1e-3:
        return [f'the lr {rate:.4g} is scaled to {base * rate / asked:g} images, and the effective batch has {batch}']
    return []
