"""Partial fine-tuning: train the last blocks of a ViT only (arXiv 2111.06377, section 4.3)."""

from torch import nn

from backbones.vit import PlainViT


def freeze_all_but(vit: PlainViT, tuned_blocks: float) -> list[nn.Module]:
    """Freeze all but the last blocks and the final norm.

    Frozen parameters in front of the first trained one keep no graph, and so cost memory in forward alone.

    Args:
        vit: changed in place.
        tuned_blocks: how many; half a block more trains the MLP of the next one and its norm.

    Returns:
        the frozen modules, which belong in evaluation mode; the half block is one of them, so that no branch of it is
        dropped.

    Raises:
        ValueError: it is no multiple of a half, or outside 0..depth.
    """
    halves = tuned_blocks * 2
    if halves != int(halves) or not 0 <= tuned_blocks <= vit.depth:
        raise ValueError(f'tuned_blocks={tuned_blocks} has to be a multiple of 0.5 in 0..{vit.depth}, the depth')
    whole, half = divmod(int(halves), 2)
    first = vit.depth - whole
    vit.requires_grad_(False)
    trained = [*vit.blocks[first:], vit.norm]
    if half:
        block = vit.blocks[first - 1]
        trained += [block.norm2, block.mlp]
        if block.gamma_2 is not None:
            block.gamma_2.requires_grad_(True)
    for module in trained:
        module.requires_grad_(True)
    return [vit.patch_embed, *vit.blocks[:first]]
