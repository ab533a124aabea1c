"""Loop of epochs that can continue inside an epoch, from a checkpoint saved there."""

from itertools import islice

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop


@LOOPS.register_module()
class SkippingEpochLoop(EpochBasedTrainLoop):
    """mmengine's loop of epochs that, resumed inside an epoch, reads the batches already seen but skips training.

    mmengine would train the whole epoch again, and go on past the end of the schedule. The batches must be read because
    data workers draw their crops one after the other.

    Attributes:
        began: iteration at which the current epoch began.
    """

    began = 0

    def run_epoch(self) -> None:
        """Train one epoch or the rest of it."""
        seen = self._iter - self._epoch * len(self.dataloader)
        self.began = self._iter - seen
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for index, batch in enumerate(islice(self.dataloader, seen, None), seen):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
