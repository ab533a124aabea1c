"""Hooks for long runs: exact continuation, and a stop before broken weights are saved."""

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor


@HOOKS.register_module()
class SeedEachEpoch(Hook):
    """Seed PyTorch at the start of every epoch from the run's seed, the progress and the rank.

    Masks and crops of an epoch then do not depend on whether the run was stopped in between, and no two processes
    draw the same masks (mmengine gives all of them one seed).
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        """Called by the runner."""
        state = np.random.SeedSequence([runner.seed, runner.iter, get_rank()]).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]))


@HOOKS.register_module()
class StopOnNonFinite(Hook):
    """Stop when the loss is NaN or infinite, before a checkpoint is written over good ones.

    The loss is looked at every 50 iterations and before each save, as each look waits for the device.
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
        if self.every_n_train_iters(runner, self.interval):
            self._check()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Called by the runner."""
        self._check()

    def _check(self) -> None:
        if self.loss is not None and not torch.isfinite(self.loss):
            raise FloatingPointError(
                f'the loss is {self.loss.item()} at iteration {self.iteration}: resume from the last checkpoint with '
                'a lower lr, or train in bfloat16 or float32 rather than float16'
            )
