"""Ridge read-out: a linear classifier in closed form, to check features while they are being learnt.

Letters: M images, D width, N classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def ridge_accuracy(train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor], strength: float = 0.01) -> float:
    """Percentage right of a least-squares classifier with penalised weights on standardised features.

    Args:
        train: features (M, D) and labels int64 (M,).
        val: features (Q, D) and labels int64 (Q,).
        strength: strength of the penalty, where 1 is the variance of a feature.
    """
    features = train[0].double()
    mean = features.mean(dim=0)
    # A feature that never varies carries no information, and must not be scaled up to noise.
    scale = features.std(dim=0, correction=0)
    scale = torch.where(scale > 1e-6, scale, torch.inf)
    features = (features - mean) / scale
    targets = F.one_hot(train[1]).double()
    shares = targets.mean(dim=0)
    covariance = features.T @ features / len(features)
    covariance.diagonal().add_(strength)
    weights = torch.linalg.solve(covariance, features.T @ (targets - shares) / len(features))
    scores = (val[0].double() - mean) / scale @ weights + shares
    return 100 * (scores.argmax(dim=1) == val[1]).double().mean().item()
