"""Linear probes on every layer at once, on features computed once, trained as in BEiT.

Letters: V views, M images, S layers, D width, N classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.evaluation.probe import HEAD_STD


def layer_accuracies(
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    seed: int,
    epochs: int = 100,
    batch_size: int = 256,
    rate: float = 1e-3,
) -> list[float]:
    """Train a linear layer on each layer's features with AdamW and a cosine learning rate, and evaluate each.

    Args:
        train: features (V, M, S, D) and labels int64 (M,).
        val: features (Q, S, D) and labels int64 (Q,).
        seed: seed of the initial weights and the order.
        epochs: passes over all views of the images.
        batch_size: features per step.
        rate: learning rate at the start, for a batch of 256.

    Returns:
        percentage right in ``val`` for each layer.
    """
    # (V, M, S, D) -> (V M, S, D)
    features, targets = train[0].flatten(0, 1), train[1].repeat(len(train[0]))
    generator = torch.Generator().manual_seed(seed)
    shape = features.shape[1], features.shape[2], int(targets.max()) + 1
    weight = (HEAD_STD * torch.randn(shape, generator=generator)).to(features).requires_grad_()
    bias = features.new_zeros(shape[0], shape[2]).requires_grad_()
    optimizer = torch.optim.AdamW([weight, bias], lr=rate * batch_size / 256, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        order = torch.randperm(len(features), generator=generator).to(features.device)
        for places in order.split(batch_size):
            optimizer.zero_grad()
            logits = torch.einsum('bsd,sdn->bsn', features[places], weight) + bias
            # The loss is summed over layers and averaged over the batch: no layer's gradient depends on another's.
            rows = targets[places, None].expand(-1, shape[0])
            (shape[0] * F.cross_entropy(logits.flatten(0, 1), rows.flatten())).backward()
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        guesses = (torch.einsum('bsd,sdn->bsn', val[0], weight) + bias).argmax(dim=2)
    return [100 * value.item() for value in (guesses == val[1][:, None]).double().mean(dim=0)]
