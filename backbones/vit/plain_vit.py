"""PlainViT: one class for pretraining, detection and segmentation.

Letters: B batch, C channels, H, W grid in patches, L = H * W patches, K tokens given, D width, p patch size.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from backbones.vit.layers import LAYER_NORM_EPS, Block, PatchEmbed, patches_at
from backbones.vit.pos_embed import resample_pos_embed, sincos_pos_embed, tile_pos_embed
from backbones.vit.positions import DECOMPOSED, Positions, block_windows, grouped, table_grids
from backbones.vit.rel_pos_table import SharedTable
from backbones.vit.variants import VARIANTS, Size, block_index, patch_grid, variant_sizes

__all__ = ['VARIANTS', 'PlainViT']

Model = TypeVar('Model', bound='PlainViT')


class PlainViT(nn.Module):
    """Vision Transformer whose parameters carry MAE's and timm's names.

    Pretraining calls `embed`, drops tokens and calls `encode`; detectors and segmentors call `forward`. Models with
    windows or decomposed relative positions have no class token, since both need a place for every token (ViTDet drops
    it too); BEiT's tables leave their three class-token rows unused in windows. BEiT is
    ``PlainViT(positions=Positions(rel_pos='table', use_abs_pos=False), layer_scale=0.1)`` (large: 1e-5). It has BEiT's
    names except ``q_bias`` and ``v_bias``, see `backbones.vit.layers.Attention`.

    Args:
        variant: a key of `VARIANTS`, or a dict of embed_dim, depth, num_heads.
        img_size: training image in pixels, one side or (height, width); for other sizes positions are resampled.
        patch_size: side p of a patch in pixels.
        in_channels: channels C of the image.
        positions: which positions tokens have, and which tokens attend to each other; None: only absolute positions.
        layer_scale: initial factor of each channel of each branch (arXiv 2103.17239); None for no layer scale.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
        out_indices: blocks whose output `forward` returns; negative ones count from the end.
        out_norm: apply the final norm to the outputs; without it the model has no ``norm`` parameters.
        frozen_blocks: freeze the embeddings and this many first blocks; 0 freezes nothing.
        act_checkpoint: recompute each block in backward instead of storing its activations.

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """

    pos_embed: nn.Parameter | None
    global_pos_embed: nn.Parameter
    rel_pos_grid: tuple[int, int]
    pos_grid: tuple[int, int]

    def __init__(
        self,
        variant: str | dict[str, int] = 'base',
        img_size: Size = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        positions: Positions | None = None,
        layer_scale: float | None = None,
        drop_path_rate: float = 0.0,
        out_indices: Sequence[int] = (-1,),
        out_norm: bool = False,
        frozen_blocks: int = 0,
        act_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.embed_dim, self.depth, self.num_heads = variant_sizes(variant)
        positions = positions or Positions()
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f'drop_path_rate={drop_path_rate}: it has to be a share from 0, below 1')
        self.patch_size, self.in_channels = patch_size, in_channels
        self.out_indices = tuple(block_index(i, self.depth, 'out_indices') for i in out_indices)
        self.frozen_blocks, self.act_checkpoint = frozen_blocks, act_checkpoint
        self.needs_grid = bool(positions.window_size) or positions.rel_pos is not None
        self.num_prefix_tokens = 0 if positions.window_size or positions.rel_pos in DECOMPOSED else 1

        self.pretrain_img_size = positions.pretrain_img_size
        self.rel_pos_grid = patch_grid(img_size, patch_size)
        self.pos_grid = patch_grid(positions.pretrain_img_size or img_size, patch_size)
        self.patch_embed = PatchEmbed(patch_size, in_channels, self.embed_dim)
        self.window_abs_pos = positions.window_size if positions.window_abs_pos else 0
        self._add_positions(positions.use_abs_pos, positions.rel_pos == 'shared_table')
        windows = block_windows(positions.window_size, positions.global_blocks, self.depth)
        rates = [drop_path_rate * index / max(self.depth - 1, 1) for index in range(self.depth)]
        self.blocks = nn.ModuleList(
            self._block(window, rate, positions, layer_scale) for window, rate in zip(windows, rates, strict=True)
        )
        self.norm = nn.LayerNorm(self.embed_dim, eps=LAYER_NORM_EPS) if out_norm else nn.Identity()
        self.reset_parameters()
        self._freeze()

    @classmethod
    def from_options(cls: type[Model], **options: Any) -> Model:
        """Build a model from the flat options of a config, those of `Positions` among them."""
        return cls(**grouped(options))

    @classmethod
    def from_pretrained(cls: type[Model], path: str | Path | dict[str, Any], **options: Any) -> Model:
        """Build the model that fits a checkpoint, and load its weights.

        Width, depth, heads, patch, channels and positions come from the file.

        Args:
            path: see `backbones.checkpoint.load_pretrained`.
            options: further flat options of the model, such as ``out_indices`` or ``window_size``; they override what
                the file tells.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it cannot be read, or does not fit the options.
        """
        # Imported here because `backbones.checkpoint` imports this package.
        from backbones.checkpoint.build import build_pretrained

        return build_pretrained(cls, path, options)

    def _add_positions(self, use_abs_pos: bool, shared_table: bool) -> None:
        if self.num_prefix_tokens:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dim))
        # Row 0 belongs to the class token; every model keeps it so that published tables fit.
        positions = nn.Parameter(sincos_pos_embed(self.embed_dim, self.pos_grid)) if use_abs_pos else None
        self.register_parameter('pos_embed', positions)
        if self.window_abs_pos:
            self.global_pos_embed = nn.Parameter(torch.zeros(1, self.pos_grid[0] * self.pos_grid[1], self.embed_dim))
        self.rel_pos_bias = SharedTable(self.rel_pos_grid, self.num_heads) if shared_table else None

    def _block(self, window: int, drop_path: float, positions: Positions, scale: float | None) -> Block:
        return Block(
            self.embed_dim,
            self.num_heads,
            drop_path=drop_path,
            window_size=window,
            layer_scale=scale,
            attention=positions.attention,
            **table_grids(positions.rel_pos, window, self.rel_pos_grid),
        )

    def reset_parameters(self) -> None:
        """Initialise as MAE does: Xavier for linear layers and patch projection, std 0.02 for the class token."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                assert module.bias is not None
                # (D, C, p, p) -> (D, C p p), a view of the same weights
                nn.init.xavier_uniform_(module.weight.flatten(1))
                nn.init.zeros_(module.bias)
        if self.num_prefix_tokens:
            nn.init.normal_(self.cls_token, std=0.02)

    def embed(self, images: Tensor) -> Tensor:
        """Map images (B, C, h, w) of any size to patch tokens (B, L, D) with positions, without class token."""
        return self._embed(images)[0]

    def embed_at(self, images: Tensor, places: Tensor) -> Tensor:
        """Compute `embed` for the patches at some places only; the others are not even copied.

        Args:
            images: (B, C, H * p, W * p), whole patches only.
            places: int64 (B, K), each in 0 ... H * W - 1.

        Returns:
            (B, K, D).
        """
        self._check_images(images)
        grid = (images.shape[2] // self.patch_size, images.shape[3] // self.patch_size)
        tokens = self.patch_embed.project(patches_at(images, places, self.patch_size))
        tokens = tokens.to(self.patch_embed.proj.weight.dtype)
        return tokens if self.pos_embed is None else tokens + self._positions(self.pos_embed, grid)[0, places]

    def encode(self, tokens: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """Run the blocks on all or some patch tokens.

        Args:
            tokens: (B, K, D) from `embed`.
            grid: (H, W) of the tokens; only models with windows or relative positions need it.

        Returns:
            (B, num_prefix_tokens + K, D): the class token first if the model has one; normed with ``out_norm``.

        Raises:
            ValueError: the model needs the grid, and it is missing or does not fit the tokens.
        """
        if self.needs_grid and (grid is None or grid[0] * grid[1] != tokens.shape[1]):
            raise ValueError(
                f'windows and relative positions need every token and its place: got grid={grid} for '
                f'{tokens.shape[1]} tokens'
            )
        for output in self.run_blocks(tokens, grid):
            tokens = output
        return self.norm(tokens)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (B, C, h, w) to feature maps.

        Returns:
            one (B, D, ceil(h / p), ceil(w / p)) per entry of ``out_indices``, in that order.
        """
        tokens, grid = self._embed(images)
        maps = {}
        for index, output in enumerate(self.run_blocks(tokens, grid)):
            if index in self.out_indices:
                maps[index] = self._to_map(self.norm(output), grid)
        return tuple(maps[index] for index in self.out_indices)

    def param_depth(self, name: str) -> int:
        """Depth of a parameter for layer-wise decay: 0 embeddings, i + 1 block i, depth + 1 the rest.

        The table that BEiT's blocks share counts among the rest, as in its code.

        Args:
            name: parameter name inside this module, such as ``blocks.3.attn.qkv.weight``.
        """
        if name.split('.')[0] in ('cls_token', 'pos_embed', 'global_pos_embed', 'patch_embed'):
            return 0
        block = re.match(r'blocks\.(\d+)\.', name)
        return int(block.group(1)) + 1 if block else self.depth + 1

    def train(self, mode: bool = True) -> 'PlainViT':
        """Switch mode; frozen blocks stay in evaluation mode, so that they do nothing random."""
        super().train(mode)
        for block in self.blocks[: self.frozen_blocks]:
            block.eval()
        return self

    def _check_images(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(
                f'PlainViT(in_channels={self.in_channels}) takes images (B, {self.in_channels}, H, W), '
                f'got {tuple(images.shape)}'
            )

    def _embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        self._check_images(images)
        maps = self.patch_embed(images)
        grid = (maps.shape[2], maps.shape[3])
        # (B, D, H, W) -> (B, L, D) in the weights' dtype: under autocast the residual stream stays float32, as in MAE
        tokens = maps.flatten(2).transpose(1, 2).to(self.patch_embed.proj.weight.dtype)
        if self.pos_embed is not None:
            tokens = tokens + self._positions(self.pos_embed, grid)
        return tokens, grid

    def _positions(self, table: Tensor, grid: tuple[int, int]) -> Tensor:
        """Absolute positions (1, L, D) of a grid."""
        if not self.window_abs_pos:
            return resample_pos_embed(table, self.pos_grid, grid)[:, 1:]
        window = (self.window_abs_pos, self.window_abs_pos)
        repeated = tile_pos_embed(resample_pos_embed(table, self.pos_grid, window)[:, 1:], window, grid)
        return repeated + resample_pos_embed(self.global_pos_embed, self.pos_grid, grid, prefix_tokens=0)

    def run_blocks(self, tokens: Tensor, grid: tuple[int, int] | None) -> Iterator[Tensor]:
        """Yield the output (B, num_prefix_tokens + K, D) of each block in turn, not normed; see `encode`."""
        if self.num_prefix_tokens:
            prefix = self.cls_token if self.pos_embed is None else self.cls_token + self.pos_embed[:, :1]
            tokens = torch.cat([prefix.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        bias = None
        if self.rel_pos_bias is not None:
            assert grid is not None, 'relative positions need the grid'
            bias = self.rel_pos_bias(grid)
        for block in self.blocks:
            if self.act_checkpoint and self.training and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, grid, bias, use_reentrant=False)
            else:
                tokens = block(tokens, grid, bias)
            yield tokens

    def _to_map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        # (B, prefix + L, D) -> (B, D, H, W)
        places = tokens[:, self.num_prefix_tokens :].transpose(1, 2)
        return places.reshape(tokens.shape[0], self.embed_dim, *grid).contiguous()

    def _freeze(self) -> None:
        if not 0 <= self.frozen_blocks <= self.depth:
            raise ValueError(f'frozen_blocks={self.frozen_blocks} is outside 0..{self.depth}, the depth of the model')
        if not self.frozen_blocks:
            return
        frozen = self.param_depth(f'blocks.{self.frozen_blocks - 1}.')
        for name, parameter in self.named_parameters():
            # The frozen blocks use the shared table, so freeze it too.
            if self.param_depth(name) <= frozen or name.startswith('rel_pos_bias.'):
                parameter.requires_grad_(False)
