"""Focal losses (Lin et al., "Focal Loss for Dense Object Detection", 2017), behind ``mmcv.ops``.

p is the probability of the target; the loss is -alpha (1 - p)^gamma log p. Class weights are optional: without them
mmcv passes an empty tensor.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from backbones.openmmlab.operators.common_dtype import at_least_float32


def _class_weight(weight: Tensor, target: Tensor) -> Tensor | float:
    """Weight of each target (N,), 1 for the background, whose label is not a class."""
    if weight.numel() == 0:
        return 1.0
    known = (target >= 0) & (target < weight.numel())
    return torch.where(known, weight[target.clamp(0, weight.numel() - 1)], 1.0)


def _as_column(weight: Tensor | float) -> Tensor | float:
    return weight[:, None] if isinstance(weight, Tensor) else weight


def sigmoid_focal_loss_forward(
    logits: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of independent classes into ``output``.

    Args:
        logits: (N, C).
        target: (N,) int64 class; a label outside 0 ... C - 1 is background, for which no class is right.
        weight: (C,), by class of the target, or empty.
        output: receives (N, C).
        gamma: how strongly easy examples are down-weighted.
        alpha: weight of the right class; the others have 1 - alpha.
    """
    x, weight = at_least_float32(logits, weight)
    p = x.sigmoid()
    right = -alpha * (1 - p) ** gamma * F.logsigmoid(x)
    wrong = -(1 - alpha) * p**gamma * F.logsigmoid(-x)
    output.copy_(_select(target, right, wrong) * _as_column(_class_weight(weight, target)))


def sigmoid_focal_loss_backward(
    logits: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivative (N, C) of each loss by its own logit into ``grad_input``."""
    x, weight = at_least_float32(logits, weight)
    p = x.sigmoid()
    right = alpha * (1 - p) ** gamma * (gamma * p * F.logsigmoid(x) - (1 - p))
    wrong = (1 - alpha) * p**gamma * (p - gamma * (1 - p) * F.logsigmoid(-x))
    grad_input.copy_(_select(target, right, wrong) * _as_column(_class_weight(weight, target)))


def _select(target: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    """Take `right` (N, C) in the target's column and `wrong` elsewhere."""
    classes = torch.arange(right.shape[1], device=right.device)
    return torch.where(target[:, None] == classes, right, wrong)


def softmax_focal_loss_forward(
    softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of exclusive classes into ``output``.

    Args:
        softmax: (N, C) probabilities.
        target: (N,) int64 class; a negative label means no loss.
        weight: (C,), by class of the target, or empty.
        output: receives (N,).
        gamma: how strongly easy examples are down-weighted.
        alpha: weight of all losses.
    """
    p, weight = _target_probability(softmax, target, weight)
    loss = -alpha * (1 - p) ** gamma * p.log() * _class_weight(weight, target)
    output.copy_(torch.where(target >= 0, loss, 0.0))


def softmax_focal_loss_backward(
    softmax: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Compute the derivative of each loss by its logits.

    ``buff`` (N,) receives p times the derivative by p; ``grad_input`` (N, C) receives the derivative by the logits.
    """
    p, weight = _target_probability(softmax, target, weight)
    # (1 - p) ** (gamma - 1) alone would be infinite at p = 1 for gamma below 1
    rest = (1 - p).clamp(min=torch.finfo(p.dtype).tiny)
    slope = alpha * (gamma * rest ** (gamma - 1) * p * p.log() - rest**gamma) * _class_weight(weight, target)
    slope = torch.where(target >= 0, slope, 0.0)
    buff.copy_(slope)
    one_hot = target[:, None] == torch.arange(softmax.shape[1], device=softmax.device)
    grad_input.copy_(slope[:, None] * (one_hot.to(slope.dtype) - softmax.to(slope.dtype)))


def _target_probability(softmax: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Probability (N,) of the target, kept above zero, and the weights in the same dtype."""
    softmax, weight = at_least_float32(softmax, weight)
    p = softmax.gather(1, target.clamp(min=0)[:, None])[:, 0]
    return p.clamp(min=torch.finfo(p.dtype).tiny), weight
