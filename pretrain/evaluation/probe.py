"""Linear probe on features that were computed once: batch norm without weights, and a linear layer.

Letters: V views, M images, D width, N classes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.evaluation.accuracy import class_mean

# From MAE's probe.
NORM_EPS = 1e-6
HEAD_STD = 0.01


@dataclass(frozen=True)
class ProbeRecipe:
    """How a probe is trained: SGD with a cosine learning rate that ends at 0.

    Attributes:
        epochs: passes over all views of the images.
        batch_size: features per step.
        rates: learning rates to choose from.
        held_out: share of each class's training images that is held out to choose the rate.
    """

    epochs: int = 100
    batch_size: int = 256
    rates: tuple[float, ...] = (0.3, 0.1, 0.03, 0.01, 0.003)
    held_out: float = 0.2


def probe_accuracy(
    train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor], recipe: ProbeRecipe, seed: int
) -> dict[str, float]:
    """Choose a learning rate on a part of the training images, train on all of them, and evaluate.

    Args:
        train: features (V, M, D), where the first view is the unaltered image, and labels int64 (M,).
        val: features (Q, D) and labels int64 (Q,).
        recipe: how to train.
        seed: seed of the split, the initial weights and the order.

    Returns:
        ``top1``, percentage right in ``val``; ``class_mean``, see `class_mean`; and ``rate``, the chosen learning rate.

    Raises:
        ValueError: see `split_images`.
    """
    rate = choose_rate(train, recipe, seed)
    probe = train_probe(train, recipe, rate, seed)
    with torch.no_grad():
        balanced = class_mean(probe(val[0]).argmax(dim=1) == val[1], val[1])
    return {'top1': accuracy(probe, *val), 'class_mean': balanced, 'rate': rate}


def choose_rate(train: tuple[Tensor, Tensor], recipe: ProbeRecipe, seed: int) -> float:
    """Learning rate of the probe that is best on the held-out images; on a tie the smaller one wins.

    Args:
        train: see `probe_accuracy`.
        recipe: see `probe_accuracy`.
        seed: see `probe_accuracy`.
    """
    features, labels = train
    if len(recipe.rates) == 1:
        return recipe.rates[0]
    fit, held = split_images(labels.cpu(), recipe.held_out, seed)
    fit, held = fit.to(labels.device), held.to(labels.device)
    scores = {}
    for rate in sorted(recipe.rates):
        probe = train_probe((features[:, fit], labels[fit]), recipe, rate, seed)
        scores[rate] = accuracy(probe, features[0, held], labels[held])
    return max(scores, key=lambda rate: scores[rate])


def split_images(labels: Tensor, held_out: float, seed: int) -> tuple[Tensor, Tensor]:
    """Hold out a share of each class, and at least one image of each class that has two.

    Args:
        labels: int64 (M,).
        held_out: the share.
        seed: decides which images are held out.

    Returns:
        places to train on and places held out, both sorted.

    Raises:
        ValueError: no class has two images.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        places = (labels == label).nonzero()[:, 0]
        count = min(max(1, round(held_out * len(places))), len(places) - 1)
        chosen[places[torch.randperm(len(places), generator=generator)[:count]]] = True
    if not chosen.any():
        raise ValueError('each class has one training image: to choose the learning rate of a probe takes two')
    return (~chosen).nonzero()[:, 0], chosen.nonzero()[:, 0]


def train_probe(train: tuple[Tensor, Tensor], recipe: ProbeRecipe, rate: float, seed: int) -> nn.Sequential:
    """Train a probe.

    Args:
        train: see `probe_accuracy`.
        recipe: gives ``epochs`` and ``batch_size``.
        rate: learning rate at the start.
        seed: seed of the initial weights and the order.

    Returns:
        the probe in evaluation mode: (B, D) -> logits (B, N).
    """
    views, labels = train
    # (V, M, D) -> (V M, D)
    features, targets = views.flatten(0, 1), labels.repeat(len(views))
    generator = torch.Generator().manual_seed(seed)
    probe = build_probe(features.shape[1], int(labels.max()) + 1, generator).to(features.device)
    steps = -(-len(features) // recipe.batch_size)
    optimizer = torch.optim.SGD(probe.parameters(), lr=rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs * steps)
    for _ in range(recipe.epochs):
        order = torch.randperm(len(features), generator=generator).to(features.device)
        # The parts have nearly equal size, because batch norm cannot learn from a single feature left over.
        for places in order.tensor_split(steps):
            optimizer.zero_grad()
            F.cross_entropy(probe(features[places]), targets[places]).backward()
            optimizer.step()
            schedule.step()
    return probe.eval()


def build_probe(width: int, classes: int, generator: torch.Generator | None = None) -> nn.Sequential:
    """Batch norm without weights and a linear layer, as MAE probes (arXiv 2111.06377, appendix A)."""
    head = nn.Linear(width, classes)
    nn.init.normal_(head.weight, std=HEAD_STD, generator=generator)
    nn.init.zeros_(head.bias)
    return nn.Sequential(nn.BatchNorm1d(width, affine=False, eps=NORM_EPS), head)


@torch.no_grad()
def accuracy(probe: nn.Module, features: Tensor, labels: Tensor) -> float:
    """Percentage of features (M, D) that the probe puts into the class in ``labels`` (M,)."""
    return 100 * (probe(features).argmax(dim=1) == labels).double().mean().item()
