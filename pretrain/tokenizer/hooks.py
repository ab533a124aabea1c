"""Hooks for training the image tokenizer: its two schedules, and a check for dying codebooks."""

import math

from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class AnnealTokenizer(Hook):
    """Set the temperature of the relaxed codes and the weight of the KL term, both along a half cosine.

    Args:
        temperature_end: final temperature; it starts at 1.
        temperature_iters: number of iterations until then.
        kl_weight_end: final weight; it starts at 0.
        kl_weight_iters: number of iterations until then.
    """

    def __init__(
        self, temperature_end: float, temperature_iters: int, kl_weight_end: float, kl_weight_iters: int
    ) -> None:
        self.temperature = (1.0, temperature_end, temperature_iters)
        self.kl_weight = (0.0, kl_weight_end, kl_weight_iters)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Called by the runner."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.temperature.fill_(half_cosine(*self.temperature, runner.iter))
        model.kl_weight.fill_(half_cosine(*self.kl_weight, runner.iter))


@HOOKS.register_module()
class SpreadCodes(Hook):
    """Make all codes likely at the start: calls `TokenizerTraining.spread_codes` on the first batch of a training.

    This is not in DALL-E's paper, whose training is a thousand times longer.

    Args:
        deviation: deviation of each code's logit over the places of the first batch.
    """

    def __init__(self, deviation: float = 2.0) -> None:
        self.deviation = deviation

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Called by the runner."""
        if runner.iter == 0:
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            model.spread_codes(model.data_preprocessor(data_batch)['inputs'], self.deviation)


def half_cosine(start: float, end: float, length: int, iteration: int) -> float:
    """Value at ``iteration`` of a half cosine from ``start`` to ``end``; constant from iteration ``length`` on."""
    progress = min(iteration / length, 1.0) if length else 1.0
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


@HOOKS.register_module()
class WatchCodebook(Hook):
    """Warn when a tokenizer uses only a small part of its codes, from which it rarely recovers.

    The perplexity is checked every 50 iterations, because each check waits for the device.

    Args:
        least: share of the codebook that the perplexity has to reach.
        begin: iterations before the first check, because few codes are in use at first.
        stop: end the training instead of warning once.
    """

    interval = 50

    def __init__(self, least: float = 0.1, begin: int = 1000, stop: bool = False) -> None:
        self.least, self.begin, self.stop = least, begin, stop
        self.warned = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Called by the runner.

        Raises:
            RuntimeError: too few codes are in use, and ``stop`` is set.
        """
        if runner.iter + 1 < self.begin or not self.every_n_train_iters(runner, self.interval):
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        assert outputs is not None
        # The mean over the processes, so that either all of them go on or none.
        mean = outputs['perplexity'].detach().clone()
        all_reduce(mean, 'mean')
        perplexity, size = float(mean), model.tokenizer.vocab_size
        if perplexity >= self.least * size:
            self.warned = False
            return
        message = (
            f'the codebook is dying: perplexity {perplexity:.1f} of {size} codes at iteration {runner.iter + 1}, under '
            f'{self.least:.0%}. Let the temperature fall later (AnnealTokenizer.temperature_iters), lower the KL '
            'weight (kl_weight_end) or raise it later (kl_weight_iters), lower the lr, or take fewer codes (vocab_size)'
        )
        if self.stop:
            raise RuntimeError(message)
        if not self.warned:
            runner.logger.warning(message)
        self.warned = True
