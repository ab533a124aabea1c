"""Accuracy for mmengine's evaluation: of one head, and of one per layer."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from torch import Tensor


@METRICS.register_module()
class ClassAccuracy(BaseMetric):
    """Share of images, in percent, whose class is among the k with the greatest scores: ``accuracy/top1`` ...

    Args:
        topk: the values of k; those that take in all classes are left out, being always right.
        collect_device: see mmengine.
        prefix: of the names of the results.
    """

    default_prefix = 'accuracy'

    def __init__(self, topk: Sequence[int] = (1, 5), collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)
        self.topk = tuple(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Take in predictions: each with ``scores`` (classes,) and ``label``."""
        for sample in data_samples:
            self.results.append((rank_of(sample['scores'], int(sample['label'])), len(sample['scores'])))

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Percentages by name."""
        classes = results[0][1]
        ranks = torch.tensor([rank for rank, _ in results])
        return {f'top{k}': 100 * (ranks < k).double().mean().item() for k in self.topk if k < classes}


@METRICS.register_module()
class LayerAccuracy(BaseMetric):
    """Top-1 accuracy of a head per layer, in percent: ``accuracy/layer1`` ..., and the greatest, ``accuracy/top1``.

    Which layer is best is decided on the images evaluated, as BEiT does it.

    Args:
        collect_device: see mmengine.
        prefix: of the names of the results.
    """

    default_prefix = 'accuracy'

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Take in predictions: each with ``scores`` (layers, classes) and ``label``."""
        for sample in data_samples:
            label = int(sample['label'])
            self.results.append([rank_of(scores, label) == 0 for scores in sample['scores']])

    def compute_metrics(self, results: list[list[bool]]) -> dict[str, float]:
        """Percentages by name."""
        layers = 100 * torch.tensor(results).double().mean(dim=0)
        return {'top1': layers.max().item()} | {f'layer{i}': each.item() for i, each in enumerate(layers, 1)}


def class_mean(guesses: Tensor, labels: Tensor) -> float:
    """Percentage right in each class, averaged over the classes: in uneven sets the rare ones count as the frequent.

    Args:
        guesses: classes guessed, int64 (M,).
        labels: the true ones, int64 (M,).
    """
    right = (guesses == labels).double()
    return 100 * torch.stack([right[labels == label].mean() for label in labels.unique()]).mean().item()


def rank_of(scores: Tensor, label: int) -> int:
    """How many other classes score at least as much as ``label`` does: ties and NaN count as errors."""
    return int((~(scores < scores[label])).sum()) - 1
