"""One feature vector per image from a PlainViT, for classifiers, probes and k-NN.

Letters: B batch, C channels, D width.
"""

import torch
from torch import Tensor, nn

from backbones.vit import PlainViT
from backbones.vit.variants import patch_grid

POOLS = ('mean', 'class')


def pooled_features(vit: PlainViT, images: Tensor, pool: str = 'mean') -> Tensor:
    """Encode whole images and pool their tokens.

    Args:
        vit: the model; its ``out_norm`` decides whether tokens are normed before they are pooled.
        images: (B, C, height, width), normalised.
        pool: 'mean' of the patch tokens, the 'class' token, or 'both' concatenated, class token first.

    Returns:
        (B, D), or (B, 2 D) for both.

    Raises:
        ValueError: see `check_pool`.
    """
    check_pool(vit, 'class' if pool == 'both' else pool)
    grid = patch_grid((images.shape[2], images.shape[3]), vit.patch_size)
    tokens = vit.encode(vit.embed(images), grid)
    if pool == 'class':
        return tokens[:, 0]
    mean = tokens[:, vit.num_prefix_tokens :].mean(dim=1)
    return mean if pool == 'mean' else torch.cat([tokens[:, 0], mean], dim=1)


def layer_features(vit: PlainViT, images: Tensor) -> Tensor:
    """Output of each block, not normed: class token and mean of the patch tokens concatenated.

    Args:
        vit: the model, with a class token.
        images: (B, C, height, width), normalised.

    Returns:
        (B, depth, 2 D).

    Raises:
        ValueError: there is no class token.
    """
    check_pool(vit, 'class')
    grid = patch_grid((images.shape[2], images.shape[3]), vit.patch_size)
    layers = [
        torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)
        for tokens in vit.run_blocks(vit.embed(images), grid)
    ]
    return torch.stack(layers, dim=1)


def check_plain(backbone: nn.Module, user: str) -> None:
    """Refuse a backbone that is no PlainViT.

    Raises:
        ValueError: names the model that would use the backbone, and the backbone.
    """
    if not isinstance(backbone, PlainViT):
        raise ValueError(f'{user} pools the tokens of a PlainViT, {type(backbone).__name__} is none')


def check_pool(vit: PlainViT, pool: str) -> None:
    """Refuse a kind of pooling that does not exist, or for which the model has no token.

    Raises:
        ValueError: says what to set.
    """
    if pool not in POOLS:
        raise ValueError(f'pool={pool!r} is unknown: use one of {", ".join(POOLS)}')
    if pool == 'class' and not vit.num_prefix_tokens:
        raise ValueError("pool='class' needs a class token, which windows and decomposed positions drop: use 'mean'")
