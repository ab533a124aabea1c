"""Loop of epochs that goes on inside an epoch where a checkpoint was saved inside one."""

from itertools import islice

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop


@LOOPS.register_module()
class SkippingEpochLoop(EpochBasedTrainLoop):
    """mmengine's loop of epochs; after a resume inside an epoch, what was seen of it is read but not trained again.

    mmengine would train the whole epoch anew, and go on past the end of the schedule. The batches are read because data
    workers draw their crops one after the other.

    Attributes:
        began: iteration at which the current epoch began.
    """

    began = 0

    def run_epoch(self) -> None:
        """Train one epoch, or what is left of it."""
        seen = self._iter - self._epoch * len(self.dataloader)
        self.began = self._iter - seen
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for index, batch in enumerate(islice(self.dataloader, seen, None), seen):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
