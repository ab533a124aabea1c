"""Measure the features while pretraining runs: k-NN and a ridge read-out on a small labelled set."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from pretrain.data.class_transforms import EvalTransform
from pretrain.data.labelled import LabelledImages, labelled_parts
from pretrain.evaluation.features import pooled_features
from pretrain.evaluation.frozen import Frozen, compute_features
from pretrain.evaluation.knn import knn_accuracy
from pretrain.evaluation.ridge import ridge_accuracy
from pretrain.methods.masked_model import PretrainingModel


@HOOKS.register_module()
class OnlineProbe(Hook):
    """Log top-1 of k-NN and of a ridge read-out at intervals: ``probe/knn`` and ``probe/ridge``, in percent.

    The training is bit by bit the same as without this hook. In a distributed run every process computes the same
    probe, because a sharded encoder needs all of them, so keep the set small.

    Args:
        data_root: labelled images, ``train/CLASS`` and ``val/CLASS``.
        interval: epochs, or iterations, between two probes; there is always one at the end of training.
        neighbours: k of k-NN, at most the number of training images.
        ridge: see `pretrain.evaluation.ridge.ridge_accuracy`.
        pool: 'mean' of the patch tokens, the 'class' token, or 'both'.
        by_epoch: True counts epochs, False counts iterations.

    Raises:
        ValueError: see `pretrain.data.labelled.labelled_parts`.
    """

    priority = 'LOW'

    def __init__(
        self,
        data_root: str | Path,
        interval: int = 1,
        neighbours: int = 20,
        ridge: float = 0.01,
        pool: str = 'mean',
        by_epoch: bool = True,
    ) -> None:
        self.folders = labelled_parts(data_root)
        self.interval = interval
        self.neighbours = neighbours
        self.ridge = ridge
        self.pool = pool
        self.by_epoch = by_epoch

    def after_train_epoch(self, runner: Runner) -> None:
        """Called by the runner."""
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self._log(runner, runner.iter, f'epoch {runner.epoch + 1}')

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Called by the runner, which counts the iteration only after this call."""
        if not self.by_epoch and (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self._log(runner, runner.iter + 1, f'iteration {runner.iter + 1}')

    def _log(self, runner: Runner, step: int, moment: str) -> None:
        figures = self.look(runner.model.module if is_model_wrapper(runner.model) else runner.model)
        runner.visualizer.add_scalars(figures, step=step)
        told = ', '.join(f'{name} {value:.2f} %' for name, value in figures.items())
        runner.logger.info(f'{moment}: {told}')

    def look(self, model: PretrainingModel) -> dict[str, float]:
        """Measure the present encoder of a pretraining model."""
        vit = model.encoder
        size = vit.rel_pos_grid[0] * vit.patch_size, vit.rel_pos_grid[1] * vit.patch_size
        frozen = Frozen(vit, model.data_preprocessor, size)
        pool = partial(pooled_features, pool=self.pool)
        # Data loaders draw a seed even if nothing in them is random. They draw it from the CPU's generator, so only
        # that one is forked, and no process has to open the GPUs of the others.
        with torch.random.fork_rng(devices=[]), evaluating(vit):
            parts = [
                compute_features(frozen, LabelledImages(folder, EvalTransform(size)), pool) for folder in self.folders
            ]
        train, val = ((features[0], labels) for features, labels in parts)
        return {
            'probe/knn': knn_accuracy(train, val, (self.neighbours,))[self.neighbours],
            'probe/ridge': ridge_accuracy(train, val, self.ridge),
        }


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Set evaluation mode inside the block, and restore the mode of each part afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
