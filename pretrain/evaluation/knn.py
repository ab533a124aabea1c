"""Classification by the nearest neighbours among features, weighted as DINO does (arXiv 2104.14294).

Letters: M features in the bank, Q queries, D width, k neighbours, N classes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS = (20, 5, 1)
TEMPERATURE = 0.07


def nearest(bank: Tensor, queries: Tensor, k: int, chunk: int = 256) -> tuple[Tensor, Tensor]:
    """Find the features of the bank with the greatest cosine to each query.

    Args:
        bank: (M, D).
        queries: (Q, D).
        k: number of features to find.
        chunk: number of queries compared at once, which take chunk * M numbers of memory.

    Returns:
        cosines (Q, k), greatest first, and their places in the bank, int64 (Q, k).

    Raises:
        ValueError: the bank has fewer than k features.
    """
    if not 0 < k <= len(bank):
        raise ValueError(f'k={k} neighbours of {len(bank)} training images: take 1 to {len(bank)}')
    bank = F.normalize(bank, dim=1).T
    found = [(F.normalize(part, dim=1) @ bank).topk(k, dim=1) for part in queries.split(chunk)]
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])


def vote(cosines: Tensor, labels: Tensor, classes: int, temperature: float = TEMPERATURE) -> Tensor:
    """Let neighbours vote for their classes, each with weight exp(cosine / temperature).

    Args:
        cosines: (Q, k).
        labels: classes of the neighbours, int64 (Q, k).
        classes: N.
        temperature: the smaller it is, the more the nearest ones count.

    Returns:
        share of each class in the weights (Q, N).
    """
    # Softmax keeps exp from overflowing; the common factor that it adds does not matter.
    weights = (cosines / temperature).softmax(dim=1)
    return weights.new_zeros(len(weights), classes).scatter_add_(1, labels, weights)


def knn_accuracy(
    bank: tuple[Tensor, Tensor],
    queries: tuple[Tensor, Tensor],
    neighbours: Sequence[int] = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> dict[int, float]:
    """Percentage of queries whose class wins the vote of their neighbours.

    Args:
        bank: features (M, D) and labels int64 (M,).
        queries: features (Q, D) and labels int64 (Q,).
        neighbours: values of k.
        temperature: see `vote`.

    Returns:
        percentage for each k.

    Raises:
        ValueError: the bank has fewer than k features.
    """
    guesses = knn_guesses(bank, queries[0], neighbours, temperature)
    return {k: 100 * (guess == queries[1]).double().mean().item() for k, guess in guesses.items()}


def knn_guesses(
    bank: tuple[Tensor, Tensor],
    queries: Tensor,
    neighbours: Sequence[int] = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> dict[int, Tensor]:
    """Classes that win the neighbours' vote for features (Q, D): int64 (Q,) for each k; see `knn_accuracy`."""
    cosines, places = nearest(bank[0], queries, max(neighbours))
    labels, classes = bank[1][places], int(bank[1].max()) + 1
    return {k: vote(cosines[:, :k], labels[:, :k], classes, temperature).argmax(dim=1) for k in neighbours}
