"""Hooks for long training runs: continue exactly after a resume, and stop before broken weights are saved."""

import torch
from mmengine.dataset import worker_init_fn
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from backbones.engine.ddp import any_process
from backbones.engine.randomness import seed_all


@HOOKS.register_module()
class SeedEachEpoch(Hook):
    """Seed all generators at the start of every epoch from the run's seed, the progress and the rank.

    Crops and other random draws between two steps then do not depend on whether the run was stopped in between, and
    processes draw different numbers (mmengine gives all of them one seed). Random draws within a step of a pretraining
    model need no hook: see `pretrain.data.randomness`.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Called by the runner; removes mmengine's seeding of data workers, which is the same in every epoch.

        PyTorch then seeds them differently each time they start. Any other ``worker_init_fn`` of the config stays.
        """
        loader = runner.train_dataloader
        if getattr(loader.worker_init_fn, 'func', None) is worker_init_fn:
            loader.worker_init_fn = None

    def before_train_epoch(self, runner: Runner) -> None:
        """Called by the runner."""
        began = getattr(runner.train_loop, 'began', runner.iter)  # after a resume inside an epoch, its first iteration
        seed_all(runner.seed, began, get_rank())


@HOOKS.register_module()
class StopOnNonFinite(Hook):
    """Stop when the loss is NaN or infinite, before a checkpoint replaces good ones.

    Each check waits for the device, so the loss is checked only every 50 iterations, at the end of each epoch and when
    a checkpoint is due. All processes check together, and all stop if one has to: the others would wait for it forever.
    """

    interval = 50

    def __init__(self) -> None:
        self.loss: Tensor | None = None
        self.iteration = 0

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Called by the runner."""
        assert outputs is not None
        self.loss, self.iteration = outputs['loss'], runner.iter + 1
        if self.every_n_train_iters(runner, self.interval) or is_saved(runner):
            self._check()

    def after_train_epoch(self, runner: Runner) -> None:
        """Called by the runner, before the hook that writes checkpoints."""
        self._check()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Called by the runner in the first process only; several processes have already checked together."""
        if get_world_size() == 1:
            self._check()

    def _check(self) -> None:
        if self.loss is None:
            return
        broken = not bool(torch.isfinite(self.loss))
        if any_process(broken):
            found = self.loss.item() if broken else 'not finite in another process'
            raise FloatingPointError(
                f'the loss is {found} at iteration {self.iteration}: resume from the last checkpoint with '
                'a lower lr, or train in bfloat16 or float32 rather than float16'
            )


def is_saved(runner: Runner) -> bool:
    """Whether a `CheckpointHook` that counts iterations may save after this iteration."""
    writers = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and not hook.by_epoch]
    return any(
        hook.every_n_train_iters(runner, hook.interval, hook.save_begin)
        or (hook.save_last and hook.is_last_train_iter(runner))
        for hook in writers
    )
