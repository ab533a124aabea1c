"""Partial fine-tuning: train only the last blocks of a ViT (arXiv 2111.06377, section 4.3)."""

from torch import nn

from backbones.vit import PlainViT


def freeze_all_but(vit: PlainViT, tuned_blocks: float) -> list[nn.Module]:
    """Freeze all but the last blocks and the final norm.

    Frozen parameters before the first trained one keep no graph, so they cost memory only in the forward pass.

    Args:
        vit: changed in place.
        tuned_blocks: number of blocks to train; an additional half trains the MLP and its norm of one more block.

    Returns:
        the frozen modules, which belong in evaluation mode. The half block is one of them, so that none of its
        branches is dropped.

    Raises:
        ValueError: ``tuned_blocks`` is no multiple of a half, or is outside 0..depth.
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
