"""Masked autoencoder (He et al., arXiv 2111.06377): mask -> encode -> decode -> loss.

Letters: B batch, C channels, H, W grid in patches, L = H * W patches, K visible, M masked patches, D width.
"""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from backbones.vit import PlainViT
from pretrain.masking.masks import split_places
from pretrain.masking.patches import image_grid
from pretrain.methods.decoder import MAEDecoder
from pretrain.methods.mask_tokens import embed_masked
from pretrain.methods.masked_model import MaskedImageModel, check_drops_tokens, pixel_target
from pretrain.methods.targets import Target


@MODELS.register_module()
class MaskedAutoencoder(MaskedImageModel):
    """Encode only the visible patches, and predict the masked ones with a light decoder.

    The options are the axes of the paper's table 1.

    Args:
        encoder: a `PlainViT` with ``out_norm=True``, or its config. It has no windows or relative positions, because
            these need every patch in its place.
        decoder: arguments of `MAEDecoder` (embed_dim, depth, num_heads); None takes the paper's.
        mask: kind of mask, see `pretrain.masking.masks.MASK_KINDS`.
        mask_ratio: share of masked patches.
        norm_pix: predict each patch's pixels normalised by that patch's mean and deviation.
        target: what to predict instead of pixels, such as ``dict(type='TokenTarget', tokenizer=PATH)``.
        encoder_mask_tokens: let the encoder see mask tokens, an ablation of the paper that takes three times the work.
        data_preprocessor: mmengine preprocessor that normalises on the device, or its config.

    Raises:
        ValueError: see `MaskedImageModel`; or the encoder has windows or relative positions.
    """

    def __init__(
        self,
        encoder: dict | PlainViT,
        decoder: dict | None = None,
        mask: str = 'random',
        mask_ratio: float = 0.75,
        norm_pix: bool = True,
        target: dict | Target | None = None,
        encoder_mask_tokens: bool = False,
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        super().__init__(encoder, pixel_target(norm_pix, target), mask, mask_ratio, data_preprocessor)
        check_drops_tokens(self.encoder)
        assert self.encoder.pos_embed is not None
        self.encoder.pos_embed.requires_grad_(False)
        width = self.encoder.embed_dim
        self.decoder = MAEDecoder(width, self.target_size, self.encoder.pos_grid, **(decoder or {}))
        token = nn.Parameter(torch.empty(1, 1, width).normal_(std=0.02)) if encoder_mask_tokens else None
        self.register_parameter('mask_token', token)

    def predict_patches(self, images: Tensor, mask: Tensor, visible: int, places: Tensor) -> Tensor:
        """See `MaskedImageModel.predict_patches`."""
        grid = image_grid(images, self.encoder.patch_size)
        if self.mask_token is not None:
            tokens = embed_masked(self.encoder, images, mask, self.mask_token)
            seen = torch.arange(mask.shape[1], device=mask.device).expand(len(mask), -1)
        else:
            seen = split_places(mask, visible)[0]
            tokens = self.encoder.embed_at(images, seen)
        return self.decoder(self.encoder.encode(tokens), seen, grid, places)
