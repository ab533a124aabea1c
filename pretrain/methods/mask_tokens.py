"""Masked patches that stay in the encoder: a mask token takes the place of each (BEiT, SimMIM).

Letters: B batch, C channels, H, W grid in patches, L = H * W patches, D width, p patch size.
"""

from torch import Tensor

from backbones.vit import PlainViT
from backbones.vit.pos_embed import resample_pos_embed
from pretrain.masking.patches import image_grid


def embed_masked(encoder: PlainViT, images: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
    """Embed images and put the mask token where they are masked; positions are added to both.

    Args:
        encoder: the ViT.
        images: (B, C, H * p, W * p).
        mask: bool (B, L), True = masked.
        mask_token: (1, 1, D).

    Returns:
        (B, L, D), without class token.
    """
    tokens = encoder.embed(images)
    holes = mask_token.to(tokens.dtype)
    if encoder.pos_embed is not None:
        grid = image_grid(images, encoder.patch_size)
        holes = holes + resample_pos_embed(encoder.pos_embed, encoder.pos_grid, grid)[:, 1:]
    return holes.where(mask[:, :, None], tokens)


def encode_masked(encoder: PlainViT, images: Tensor, mask: Tensor, mask_token: Tensor) -> Tensor:
    """Encode all patches, the masked ones as mask tokens (see `embed_masked`): (B, L, D), without class token."""
    tokens = embed_masked(encoder, images, mask, mask_token)
    return encoder.encode(tokens, image_grid(images, encoder.patch_size))[:, encoder.num_prefix_tokens :]
