"""Log losses without making the host wait for the device in every iteration."""

import torch
from mmengine.hooks import Hook, LoggerHook, RuntimeInfoHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from backbones.engine.bf16 import BF16OptimWrapper

# Most iterations whose losses wait, in case a runner never logs.
MOST_WAITING = 1000


@HOOKS.register_module()
class DeferredLossLog(RuntimeInfoHook):
    """mmengine's `RuntimeInfoHook`, except that losses stay on the device until the next line of the log.

    mmengine reads each loss in each iteration, so that the host cannot prepare the next step while the device still
    computes this one. Here losses are read together, whenever `LoggerHook` may write; the values are the same. In a
    config: ``default_hooks = dict(runtime_info=dict(type='DeferredLossLog'))``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[dict[str, Tensor | float]] = []

    def before_train(self, runner: Runner) -> None:
        """Called by the runner."""
        super().before_train(runner)
        if isinstance(runner.optim_wrapper, BF16OptimWrapper):
            runner.optim_wrapper.defers_norm = True

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Called by the runner."""
        losses = {
            f'train/{name}': value.detach() if isinstance(value, Tensor) else float(value)
            for name, value in (outputs or {}).items()
        }
        if getattr(runner.optim_wrapper, 'grad_norm', None) is not None:
            losses['train/grad_norm'] = runner.optim_wrapper.grad_norm
            runner.optim_wrapper.grad_norm = None
        self.waiting.append(losses)
        if len(self.waiting) >= MOST_WAITING or is_logged(runner, batch_idx):
            self.read(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Called by the runner; reads the losses, since the log is part of the checkpoint."""
        self.read(runner)

    def read(self, runner: Runner) -> None:
        """Pass the losses of the last iterations to the log, waiting once for the device."""
        entries = [entry for losses in self.waiting for entry in losses.items()]
        for (name, _), value in zip(entries, numbers([value for _, value in entries]), strict=True):
            runner.message_hub.update_scalar(name, value)
        self.waiting = []


def numbers(values: list[Tensor | float]) -> list[float]:
    """Values of scalar tensors and plain numbers, waiting once for each device."""
    found = {index: value for index, value in enumerate(values) if not isinstance(value, Tensor)}
    tensors = {index: value for index, value in enumerate(values) if isinstance(value, Tensor)}
    for device in {tensor.device for tensor in tensors.values()}:
        here = {index: tensor.float().reshape(()) for index, tensor in tensors.items() if tensor.device == device}
        found |= dict(zip(here, torch.stack(list(here.values())).tolist(), strict=True))
    return [found[index] for index in range(len(values))]


def is_logged(runner: Runner, batch_idx: int) -> bool:
    """Whether a `LoggerHook` of the runner may write after this iteration."""
    loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
    return any(
        Hook.every_n_inner_iters(logger, batch_idx, logger.interval)
        or Hook.every_n_train_iters(logger, runner, logger.interval)
        or Hook.is_last_train_iter(logger, runner)
        or Hook.end_of_epoch(logger, runner.train_dataloader, batch_idx)
        for logger in loggers
    )
