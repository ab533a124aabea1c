"""Accuracy metrics for mmengine's evaluation, for one head and for one head per layer."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from torch import Tensor


@METRICS.register_module()
class ClassAccuracy(BaseMetric):
    """Percentage of images whose class is among the k with the greatest scores: ``accuracy/top1`` ...

    ``accuracy/class_mean`` is the share for k = 1 in each class, averaged over the classes that have images.

    Args:
        topk: the values of k; a value that covers all classes is skipped, because it is always right.
        collect_device: see mmengine.
        prefix: prefix of the result names.
    """

    default_prefix = 'accuracy'

    def __init__(self, topk: Sequence[int] = (1, 5), collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device, prefix)
        self.topk = tuple(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Take in predictions: each with ``scores`` (classes,) and ``label``."""
        for sample in data_samples:
            scores, label = sample['scores'], int(sample['label'])
            self.results.append((rank_of(scores, label), label, len(scores)))

    def compute_metrics(self, results: list[tuple[int, int, int]]) -> dict[str, float]:
        """Percentages by name."""
        ranks, labels, classes = torch.tensor(results).unbind(dim=1)
        top = {f'top{k}': 100 * (ranks < k).double().mean().item() for k in self.topk if k < classes[0]}
        return top | {'class_mean': class_mean(ranks == 0, labels)}


@METRICS.register_module()
class LayerAccuracy(BaseMetric):
    """Top-1 accuracy of one head per layer, in percent: ``accuracy/layer1`` ..., and the greatest, ``accuracy/top1``.

    The best layer is chosen on the evaluated images, as in BEiT.

    Args:
        collect_device: see mmengine.
        prefix: prefix of the result names.
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


def class_mean(right: Tensor, labels: Tensor) -> float:
    """Percentage right in each class, averaged over the classes, so that rare and frequent classes count equally.

    Args:
        right: whether each guess is right, bool (M,).
        labels: the true classes, int64 (M,).
    """
    return 100 * torch.stack([right[labels == label].double().mean() for label in labels.unique()]).mean().item()


def rank_of(scores: Tensor, label: int) -> int:
    """Rank of ``label`` among the classes by their scores (N,), from 0; on a tie the first one wins, as in argmax.

    NaN counts as an error.
    """
    own = scores[label]
    return int((~(scores <= own)).sum() + (scores[:label] == own).sum())
