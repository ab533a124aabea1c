"""Loop of iterations that continues after a resume as if it had never stopped, without reading past batches again."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS, LOOPS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, Dataset, Sampler

from backbones.engine.randomness import seed_all


@HOOKS.register_module()
class SeedEachIteration(Hook):
    """Seed all generators before every iteration from the run's seed, the rank and the iteration.

    Random draws of a step (dropped paths, dropout, the RoIs of a detector) then do not depend on whether the run was
    stopped in between.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Called by the runner."""
        seed_all(runner.seed, get_rank(), runner.iter)


class SeededSamples(Dataset):
    """A data set whose samples draw the same augmentation wherever and whenever they are read.

    Its indices are pairs (position in the training, index); it seeds all generators by the run's seed, the rank, the
    position and the index.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset, self.seed, self.rank = dataset, seed, get_rank()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: tuple[int, int]) -> Any:
        position, index = draw
        seed_all(self.seed, self.rank, position, index)
        return self.dataset[index]

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset':  # asked for while a worker unpickles
            raise AttributeError(name)
        return getattr(self.dataset, name)


class Numbered(Sampler):
    """Pairs (position, index) of an endless sampler, starting from a position."""

    def __init__(self, sampler: Any, first: int) -> None:
        self.sampler, self.first = sampler, first

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return enumerate(islice(iter(self.sampler), self.first, None), self.first)

    def __len__(self) -> int:
        return len(self.sampler)


@LOOPS.register_module()
class SeededIterLoop(IterBasedTrainLoop):
    """mmengine's loop of iterations over `SeededSamples`, for endless samplers (``InfiniteSampler``).

    After a resume, mmengine reads all past batches again, which takes hours for a long training, and draws other
    augmentations if the number of workers has changed.
    """

    def __init__(self, runner: Runner, dataloader: dict, *args: Any, **kwargs: Any) -> None:
        self.config = {**dataloader, 'dataset': SeededSamples(DATASETS.build(dataloader['dataset']), runner.seed)}
        super().__init__(runner, self._load(runner, 0), *args, **kwargs)

    def run(self) -> Any:
        """Train from the start or from a checkpoint's iteration."""
        if self._iter:
            # The old loader, made before the checkpoint was read, ends its workers when its iterator goes.
            self.dataloader = self._load(self.runner, self._iter)
            self.dataloader_iterator: Any = _Passed(iter(self.dataloader), self._iter)
        return super().run()

    def _load(self, runner: Runner, done: int) -> DataLoader:
        """Build the loader, starting after ``done`` iterations."""
        loader = runner.build_dataloader(dict(self.config), seed=runner.seed)
        batches = loader.batch_sampler
        batches.sampler = Numbered(batches.sampler, done * batches.batch_size)
        return loader


class _Passed:
    """An iterator that first yields None ``times`` times, as mmengine's loop fetches past batches and drops them."""

    def __init__(self, batches: Iterator[Any], times: int) -> None:
        self.batches, self.times = batches, times

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.times:
            self.times -= 1
            return None
        return next(self.batches)
