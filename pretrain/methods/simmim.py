"""Pixel regression with mask tokens in the encoder and a linear head, after SimMIM (Xie et al., arXiv 2111.09886).

Letters: B batch, M masked patches, D width.
"""

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from backbones.vit import PlainViT
from backbones.vit.layers import gather_tokens
from backbones.vit.linear import Linear
from pretrain.methods.mask_tokens import encode_masked
from pretrain.methods.masked_model import MaskedImageModel, pixel_target
from pretrain.methods.targets import Target


@MODELS.register_module()
class SimMIM(MaskedImageModel):
    """All patches go through the encoder, masked ones as mask tokens; a linear layer predicts their pixels.

    SimMIM masks squares of 32 pixels, which at patch size 16 are blocks of 2 x 2 patches. This class masks single
    patches.

    Args:
        encoder: a `PlainViT` with ``out_norm=True``, or its config.
        mask: kind of mask, see `pretrain.masking.masks.MASK_KINDS`.
        mask_ratio: share of masked patches.
        norm_pix: predict pixels normalised by each patch's mean and deviation; SimMIM predicts them raw.
        loss: 'l1' (SimMIM) or 'l2'.
        target: what to predict instead of pixels, such as ``dict(type='TokenTarget', tokenizer=PATH)``.
        data_preprocessor: mmengine preprocessor that normalises on the device, or its config.

    Raises:
        ValueError: see `MaskedImageModel`; or ``loss`` is unknown.
    """

    def __init__(
        self,
        encoder: dict | PlainViT,
        mask: str = 'random',
        mask_ratio: float = 0.6,
        norm_pix: bool = False,
        loss: str = 'l1',
        target: dict | Target | None = None,
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        super().__init__(encoder, pixel_target(norm_pix, target, loss), mask, mask_ratio, data_preprocessor)
        self.mask_token = nn.Parameter(torch.empty(1, 1, self.encoder.embed_dim).normal_(std=0.02))
        self.head = Linear(self.encoder.embed_dim, self.target_size)

    def predict_patches(self, images: Tensor, mask: Tensor, visible: int, places: Tensor) -> Tensor:
        """See `MaskedImageModel.predict_patches`."""
        tokens = encode_masked(self.encoder, images, mask, self.mask_token)
        return self.head(gather_tokens(tokens, places))
