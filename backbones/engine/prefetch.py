"""A hook that copies the next batch to the GPU while the current step runs."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

T = TypeVar('T')
S = TypeVar('S')


def look_ahead(items: Iterable[T], start: Callable[[T], S], finish: Callable[[S], S]) -> Iterator[S]:
    """Yield ``finish(start(item))`` of each item in order.

    Each item is finished, then the next one is started, then the finished one is yielded. So the work that ``start``
    begins runs beside the consumer's, and ``finish`` waits for one item only.
    """
    waiting: list[S] = []
    for item in items:
        ready = [finish(each) for each in waiting]
        waiting = [start(item)]
        yield from ready
    yield from (finish(each) for each in waiting)


def tensors_of(batch: Any) -> Iterator[Tensor]:
    """Yield all tensors in nested dicts, lists and tuples, and in mmengine's data elements."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, dict):
        yield from tensors_of(list(batch.values()))
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from tensors_of(value)
    elif hasattr(batch, 'all_values'):
        yield from tensors_of(list(batch.all_values()))


class AheadLoader:
    """A loader that yields batches already on a GPU; otherwise it acts as the loader that it wraps.

    Args:
        loader: yields batches in pinned memory (``pin_memory=True``); copies from other memory make the step wait.
        move: copies a batch to the device without waiting for it.
        device: the GPU.
    """

    def __init__(self, loader: DataLoader, move: Callable[[Any], Any], device: torch.device) -> None:
        self.loader, self.move, self.device = loader, move, device

    def __getattr__(self, name: str) -> Any:
        if name == 'loader':
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        copies = torch.cuda.Stream(self.device)

        def start(batch: Any) -> Any:
            with torch.cuda.stream(copies):
                return self.move(batch)

        def finish(batch: Any) -> Any:
            steps = torch.cuda.current_stream(self.device)
            steps.wait_stream(copies)
            for tensor in tensors_of(batch):
                # The memory belongs to the copying stream: keep it until the step is done with it too.
                tensor.record_stream(steps)
            return batch

        return look_ahead(self.loader, start, finish)


@HOOKS.register_module()
class PrefetchToDevice(Hook):
    """Copy the next batch on a separate stream while a step runs.

    It does nothing, and says so, on a CPU and where training counts iterations, since mmengine takes batches from its
    own loader there. Batches keep their order and values. Without workers (``num_workers=0``) each batch is read one
    step earlier, which changes the order of random draws in the main process.
    """

    def before_train(self, runner: Runner) -> None:
        """Called by the runner."""
        device = next(runner.model.parameters()).device
        if device.type != 'cuda':
            runner.logger.info(f'the model is on {device}: batches are not copied ahead')
            return
        if hasattr(runner.train_loop, 'dataloader_iterator'):
            runner.logger.info('training counts iterations, not epochs: batches are not copied ahead')
            return
        model = getattr(runner.model, 'module', runner.model)
        runner.train_loop.dataloader = AheadLoader(
            runner.train_loop.dataloader, model.data_preprocessor.cast_data, device
        )
