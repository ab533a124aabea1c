"""Loop of epochs that goes on inside an epoch where a checkpoint was saved inside one."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop


@LOOPS.register_module()
class SkippingEpochLoop(EpochBasedTrainLoop):
    """mmengine's loop of epochs; after a resume inside an epoch the batches that were seen are not read again.

    mmengine would train the whole epoch anew, and go on past the end of the schedule.
    """

    def run_epoch(self) -> None:
        """Train one epoch, or what is left of it."""
        seen = self._iter - self._epoch * len(self.dataloader)
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for index, batch in enumerate(self._rest(seen), seen):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _rest(self, seen: int) -> Iterator[Any]:
        """Batches of the epoch after the first ``seen``; they are not read where a sampler gives their indices."""
        batches = self.dataloader.batch_sampler
        if not seen or batches is None:
            yield from islice(self.dataloader, seen, None)
            return
        sampler, batches.sampler = batches.sampler, _Tail(batches.sampler, seen * batches.batch_size)
        try:
            yield from self.dataloader
        finally:
            batches.sampler = sampler


class _Tail:
    """A sampler without its first indices."""

    def __init__(self, sampler: Any, seen: int) -> None:
        self.sampler, self.seen = sampler, seen

    def __iter__(self) -> Iterator[int]:
        return islice(iter(self.sampler), self.seen, None)

    def __len__(self) -> int:
        return len(self.sampler) - self.seen
