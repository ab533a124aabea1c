"""A hook that warns when the loader, not the model, limits the speed of training."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class WatchLoader(Hook):
    """Warn when training waits for data for more than a share of its time.

    The times come from mmengine's IterTimerHook. The first iteration of an epoch, in which the workers start, does not
    count.

    Args:
        interval: iterations between two checks; each checks the iterations since the last.
        share: share of the time above which to warn.

    Raises:
        ValueError: a value is out of its range.
    """

    # Runs after IterTimerHook (NORMAL), which writes the times of the iteration.
    priority = 'BELOW_NORMAL'

    def __init__(self, interval: int = 200, share: float = 0.1) -> None:
        if interval < 1:
            raise ValueError(f'WatchLoader: interval={interval} is below 1')
        if not 0 < share < 1:
            raise ValueError(f'WatchLoader: share={share} is outside 0..1, both excluded')
        self.interval, self.share = interval, share
        self.waited = self.total = 0.0
        self.count = 0

    def before_train_epoch(self, runner: Runner) -> None:
        """Called by the runner."""
        self._start()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Called by the runner."""
        self.count += 1
        if self.count > 1:
            self.waited += runner.message_hub.get_scalar('train/data_time').current()
            self.total += runner.message_hub.get_scalar('train/time').current()
        if self.count > self.interval:
            self._tell(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Called by the runner."""
        self._tell(runner)

    def _start(self) -> None:
        self.waited = self.total = 0.0
        self.count = 0

    def _tell(self, runner: Runner) -> None:
        """Warn about the iterations since the last check, and start again; the next iteration counts at once."""
        if self.waited > self.share * self.total:
            runner.logger.warning(
                f'the loader sets the pace: {self.waited / self.total:.0%} of the time training waits for data '
                f'({self.waited / max(1, self.count - 1):.3f} s per iteration). Raise train_dataloader.num_workers, '
                'store smaller images, or bring them to a local disk'
            )
        self._start()
        self.count = 1
