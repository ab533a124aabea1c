"""Save checkpoints that are complete or absent, however a training ends, and one more when it is told to stop."""

import os
import signal
import threading
import types
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import distributed

from backbones.console.errors import UsageError
from backbones.engine.resume.file import POINTER


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's `CheckpointHook`, except that it writes each file under another name and renames it once complete.

    An earlier checkpoint is removed only after the new one is in place, so that there is always one to resume from. A
    full disk ends the training with one line and leaves no partial file. The arguments are those of `CheckpointHook`;
    only local directories work.
    """

    def before_train(self, runner: Runner) -> None:
        """Called by the runner."""
        super().before_train(runner)
        if not isinstance(runner.save_checkpoint, _Atomic):
            runner.save_checkpoint = _Atomic(runner.save_checkpoint)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        with _Later(self):
            super()._save_checkpoint_with_step(runner, step, meta)
        if is_main_process():
            write_pointer(runner.work_dir, self.last_ckpt)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        absent = [name for name in self.key_indicators if name not in (*metrics, 'auto')] if self.save_best else []
        if absent:  # a detector that finds nothing has no AP
            runner.logger.warning(f'no best checkpoint this time: {", ".join(absent)} is not among the metrics')
            return
        with _Later(self):
            super()._save_best_checkpoint(runner, metrics)


class _Later:
    """A file backend that delays removals to the end of the context, and skips them after a failure."""

    def __init__(self, hook: CheckpointHook) -> None:
        self.hook, self.backend = hook, hook.file_backend
        self.removed: list[str] = []

    def __enter__(self) -> None:
        self.hook.file_backend = self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.hook.file_backend = self.backend
        kept = {self.hook.last_ckpt, getattr(self.hook, 'best_ckpt_path', None)}
        for path in self.removed if kind is None else []:
            if path not in kept:
                self.backend.remove(path)

    def remove(self, path: str) -> None:
        """Remember a file for later."""
        self.removed.append(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)


class _Atomic:
    """``runner.save_checkpoint`` that writes ``NAME.part`` and renames it."""

    def __init__(self, save: Any) -> None:
        self.save = save

    def __call__(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        part, path = Path(out_dir, f'{filename}.part'), Path(out_dir, filename)
        try:
            self.save(out_dir, part.name, *args, **kwargs)
            if is_main_process():
                replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise UsageError(
                f'checkpoint {path} cannot be written: {error.strerror or error}. The earlier ones are whole: make '
                'room and go on with --resume'
            ) from error


def replace(part: Path, path: Path) -> None:
    """Sync a written file to disk and move it into place."""
    with part.open('rb') as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def write_pointer(work_dir: str, checkpoint: str) -> None:
    """Record which checkpoint is the last."""
    part = Path(work_dir, f'{POINTER}.part')
    part.write_text(str(checkpoint))
    replace(part, part.with_suffix(''))


class Stopped(SystemExit):
    """Ends a training that was told to stop, with the exit code that shells use for the signal."""


@HOOKS.register_module()
class SaveOnSignal(Hook):
    """Save a checkpoint and end on SIGTERM or SIGUSR1, which clusters send before they take a machine away.

    It waits for the update in progress, since accumulated gradients are not saved. Processes of one training check
    every ten iterations whether one of them got a signal, so that all save the same iteration.
    """

    priority = 'VERY_LOW'
    signals = (signal.SIGTERM, signal.SIGUSR1)
    interval = 10

    def before_train(self, runner: Runner) -> None:
        """Called by the runner."""
        self.told = 0
        self.before = {}
        if threading.current_thread() is threading.main_thread():  # other threads get no signals
            self.before = {number: signal.signal(number, self._remember) for number in self.signals}
        if get_world_size() > 1:
            self.group: Any = distributed.new_group(backend='gloo')

    def after_train(self, runner: Runner) -> None:
        """Called by the runner."""
        self._restore()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Called by the runner.

        Raises:
            Stopped: the checkpoint is saved.
        """
        count = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if (runner.iter + 1) % count or not self._is_told(runner):
            return
        if not _is_saved(runner):
            self._save(runner)
        if get_world_size() > 1:
            # A launcher that sees one process end stops the others, of which one may still be writing.
            distributed.barrier(self.group)
        self._restore()
        number = signal.Signals(self.told)
        runner.logger.warning(
            f'{number.name}: iteration {runner.iter + 1} of {runner.max_iters} is saved in {runner.work_dir}; the same '
            'command with --resume goes on'
        )
        raise Stopped(128 + number)

    def _save(self, runner: Runner) -> None:
        name, meta = f'iter_{runner.iter + 1}.pth', dict(epoch=runner.epoch, iter=runner.iter + 1)
        save = (
            runner.save_checkpoint if isinstance(runner.save_checkpoint, _Atomic) else _Atomic(runner.save_checkpoint)
        )
        save(runner.work_dir, name, meta=meta, by_epoch=False)
        if is_main_process():
            write_pointer(runner.work_dir, os.path.join(runner.work_dir, name))
            if all(hook.by_epoch for hook in runner.hooks if isinstance(hook, CheckpointHook)):
                # Other files with such a name are from earlier stops.
                for path in Path(runner.work_dir).glob('iter_*.pth'):
                    if path.name != name:
                        path.unlink()

    def _is_told(self, runner: Runner) -> bool:
        if get_world_size() == 1:
            return self.told > 0
        count = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if (runner.iter + 1) // count % self.interval:
            return False
        told = torch.tensor(self.told)
        distributed.all_reduce(told, distributed.ReduceOp.MAX, group=self.group)
        self.told = int(told)
        return self.told > 0

    def _remember(self, number: int, frame: types.FrameType | None) -> None:
        self.told = number

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def _is_saved(runner: Runner) -> bool:
    """Whether the config's checkpoint hook has already saved this iteration."""
    name = f'iter_{runner.iter + 1}.pth'
    return any(isinstance(hook, CheckpointHook) and Path(hook.last_ckpt or '').name == name for hook in runner.hooks)
