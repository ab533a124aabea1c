"""Loop of iterations that goes on after a resume as if it had never stopped, without reading what was seen."""

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

    What a step draws (dropped paths, dropout, the RoIs of a detector) then does not depend on whether the run was
    stopped in between.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Called by the runner."""
        seed_all(runner.seed, get_rank(), runner.iter)


class SeededSamples(Dataset):
    """A data set whose samples draw the same augmentation wherever and whenever they are read.

    Takes pairs (position in the training, index); seeds all generators by the run's seed, the rank and the position.
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
    """Pairs (position, index) of a sampler that never ends, from a position on."""

    def __init__(self, sampler: Any, first: int) -> None:
        self.sampler, self.first = sampler, first

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return enumerate(islice(iter(self.sampler), self.first, None), self.first)

    def __len__(self) -> int:
        return len(self.sampler)


@LOOPS.register_module()
class SeededIterLoop(IterBasedTrainLoop):
    """mmengine's loop of iterations over `SeededSamples`, for samplers that never end (``InfiniteSampler``).

    mmengine reads all that was seen once more after a resume, hours of it for a long training, and its workers draw
    other augmentations where their number has changed.
    """

    def __init__(self, runner: Runner, dataloader: dict, *args: Any, **kwargs: Any) -> None:
        self.config = {**dataloader, 'dataset': SeededSamples(DATASETS.build(dataloader['dataset']), runner.seed)}
        super().__init__(runner, self._load(runner, 0), *args, **kwargs)

    def run(self) -> Any:
        """Train, from where a checkpoint stands."""
        if self._iter:
            # Workers of the loader made before the checkpoint was read end with their iterator.
            self.dataloader = self._load(self.runner, self._iter)
            self.dataloader_iterator: Any = _Passed(iter(self.dataloader), self._iter)
        return super().run()

    def _load(self, runner: Runner, done: int) -> DataLoader:
        """The loader, from the iteration ``done`` on."""
        loader = runner.build_dataloader(dict(self.config), seed=runner.seed)
        batches = loader.batch_sampler
        batches.sampler = Numbered(batches.sampler, done * batches.batch_size)
        return loader


class _Passed:
    """An iterator that gives nothing the first times: mmengine's loop asks for what was seen, to drop it."""

    def __init__(self, batches: Iterator[Any], times: int) -> None:
        self.batches, self.times = batches, times

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.times:
            self.times -= 1
            return None
        return next(self.batches)
