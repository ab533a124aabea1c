"""The light decoder of MAE: visible tokens -> a prediction for every patch.

Letters: B batch, H, W grid in patches, L = H * W patches, K visible, M wanted ones, D encoder and E decoder width.
"""

import torch
from torch import Tensor, nn

from backbones.vit.layers import LAYER_NORM_EPS, Block, gather_tokens
from backbones.vit.linear import Linear
from backbones.vit.pos_embed import resample_pos_embed, sincos_pos_embed


class MAEDecoder(nn.Module):
    """Transformer on all patches; a masked patch is represented by one learned token plus its position.

    Args:
        in_dim: width D of the encoder's tokens.
        out_dim: values predicted per patch.
        grid: (H, W) of the training images; for other grids the positions are resampled.
        embed_dim: width E; the paper uses 512 with every encoder, and also the defaults of the next two arguments.
        depth: blocks.
        num_heads: attention heads.
    """

    pos_embed: Tensor

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        grid: tuple[int, int],
        embed_dim: int = 512,
        depth: int = 8,
        num_heads: int = 16,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.embed = Linear(in_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.register_buffer('pos_embed', sincos_pos_embed(embed_dim, grid))
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.pred = Linear(embed_dim, out_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights as the paper does: Xavier for linear layers, 0.02 for the mask token."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, latent: Tensor, index: Tensor, grid: tuple[int, int], wanted: Tensor) -> Tensor:
        """Predict patches.

        Args:
            latent: (B, 1 + K, D), class token first.
            index: int64 (B, K), places of the visible tokens in the grid.
            grid: (H, W).
            wanted: int64 (B, M), places of the patches to predict; the last block and layer run for these only.

        Returns:
            (B, M, out_dim).
        """
        tokens = self.embed(latent)
        batch, _, width = tokens.shape
        places = self.mask_token.to(tokens.dtype).expand(batch, grid[0] * grid[1], -1)
        # No two writes of this scatter share a place, so it is deterministic on every device.
        places = places.scatter(1, index[:, :, None].expand(-1, -1, width), tokens[:, 1:])
        # (B, 1, E) and (B, L, E) -> (B, 1 + L, E); float32 positions keep the residual stream in float32 under autocast
        tokens = torch.cat([tokens[:, :1], places], dim=1) + resample_pos_embed(self.pos_embed, self.grid, grid)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        return self.pred(self.norm(self._end(tokens, wanted + 1)))

    def _end(self, tokens: Tensor, places: Tensor) -> Tensor:
        if not len(self.blocks):
            return gather_tokens(tokens, places)
        last = self.blocks[-1]
        assert isinstance(last, Block)
        return last.forward_at(tokens, places)
