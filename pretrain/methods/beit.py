"""BEiT (Bao et al., arXiv 2106.08254): predict the visual tokens of masked patches.

Letters: B batch, L patches, M masked patches, D width, V codes of the tokenizer.
"""

import math

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from backbones.vit import PlainViT
from backbones.vit.layers import Block, gather_tokens
from backbones.vit.linear import Linear
from pretrain.methods.mask_tokens import encode_masked
from pretrain.methods.masked_model import MaskedImageModel
from pretrain.methods.targets import Target

# From the paper's code; used for all weights except the last layers of the residual branches.
STD = 0.02


@MODELS.register_module()
class BEiTPretraining(MaskedImageModel):
    """Mask tokens in the encoder, masked blocks of patches, a linear layer that predicts each one's visual token.

    It is not registered as BEiT, because mmseg and mmpretrain have other classes of that name.

    Args:
        encoder: a `PlainViT` with ``out_norm=True``, or its config; the paper's has ``rel_pos='shared_table',
            use_abs_pos=False, layer_scale=0.1`` (large: 1e-5).
        target: ``dict(type='TokenTarget', tokenizer=PATH)``.
        mask: kind of mask, see `pretrain.masking.masks.MASK_KINDS`.
        mask_ratio: share of masked patches; the paper's code masks 75 of 196.
        data_preprocessor: mmengine preprocessor that normalises on the device, or its config.

    Raises:
        ValueError: see `MaskedImageModel`.
    """

    def __init__(
        self,
        encoder: dict | PlainViT,
        target: dict | Target,
        mask: str = 'block',
        mask_ratio: float = 75 / 196,
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        super().__init__(encoder, target, mask, mask_ratio, data_preprocessor)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.encoder.embed_dim))
        self.head = Linear(self.encoder.embed_dim, self.target_size)
        init_beit(self.encoder)
        for weight in (self.mask_token, self.head.weight):
            nn.init.trunc_normal_(weight, std=STD, a=-STD, b=STD)
        nn.init.zeros_(self.head.bias)

    def predict_patches(self, images: Tensor, mask: Tensor, visible: int, places: Tensor) -> Tensor:
        """See `MaskedImageModel.predict_patches`: logits (B, M, V)."""
        tokens = encode_masked(self.encoder, images, mask, self.mask_token)
        return self.head(gather_tokens(tokens, places))


def init_beit(encoder: PlainViT) -> None:
    """Draw an encoder's weights as BEiT's code does.

    Weights are normal with deviation 0.02, truncated at one deviation. The last layer of each residual branch of block
    i (from 1) is divided by sqrt(2 i), so that deep models start near the identity. Biases are zero.
    """
    for module in encoder.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(module.weight, std=STD, a=-STD, b=STD)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    if encoder.num_prefix_tokens:
        nn.init.trunc_normal_(encoder.cls_token, std=STD, a=-STD, b=STD)
    with torch.no_grad():
        for number, block in enumerate(encoder.blocks, start=1):
            assert isinstance(block, Block)
            block.attn.proj.weight.div_(math.sqrt(2 * number))
            block.mlp.fc2.weight.div_(math.sqrt(2 * number))
