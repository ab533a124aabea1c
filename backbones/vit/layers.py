"""The parts of a plain ViT, with timm's parameter names.

Letters: B batch, C channels, H, W grid in patches, L = H * W tokens, N any tokens, D width, d head width, M window.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbones.vit.attention import WAYS, attend, choose_way
from backbones.vit.exporting import is_exporting, is_open
from backbones.vit.linear import Linear, linear
from backbones.vit.rel_pos import relative_terms
from backbones.vit.rel_pos_table import TableBias, table_rows
from backbones.vit.windows import window_partition, window_unpartition

LAYER_NORM_EPS = 1e-6


class PatchEmbed(nn.Module):
    """Cut an image into square patches and project each to a token.

    Args:
        patch_size: side of a patch in pixels.
        in_channels: channels C of the image.
        embed_dim: width D of a token.
    """

    def __init__(self, patch_size: int, in_channels: int, embed_dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_channels, embed_dim, patch_size, patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, h, w) to (B, D, H, W), zero-padded right and below to whole patches."""
        height, width = images.shape[-2:]
        size = self.patch_size
        pad_bottom = (height + size - 1) // size * size - height
        pad_right = (width + size - 1) // size * size - width
        if is_open(pad_bottom, pad_right) or pad_bottom or pad_right:
            images = F.pad(images, (0, pad_right, 0, pad_bottom))
        return self.proj(images)

    def project(self, patches: Tensor) -> Tensor:
        """Map patches (..., C, p, p) to tokens (..., D), computing the convolution as one matrix product."""
        return linear(patches.flatten(-3), self.proj.weight.flatten(1), self.proj.bias)


def patches_at(images: Tensor, places: Tensor, patch_size: int) -> Tensor:
    """Copy only the patches at given places out of images.

    Args:
        images: (B, C, H * p, W * p).
        places: int64 (B, K), each in 0 ... H * W - 1.
        patch_size: side p.

    Returns:
        (B, K, C, p, p).
    """
    batch, channels, height, width = images.shape
    rows, columns = height // patch_size, width // patch_size
    # (B, C, H p, W p) -> (B, C, H, p, W, p) -> (B, H, W, C, p, p), a view
    pieces = images.reshape(batch, channels, rows, patch_size, columns, patch_size).permute(0, 2, 4, 1, 3, 5)
    return pieces[torch.arange(batch, device=images.device)[:, None], places // columns, places % columns]


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Pick the tokens (B, L, D) at the places ``index`` (B, K): (B, K, D)."""
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))


class DropPath(nn.Module):
    """Drop the residual branch of some samples while training, and scale up the rest (arXiv 1603.09382).

    Args:
        drop_prob: probability that a sample is dropped.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, branch: Tensor) -> Tensor:
        """Map (B, ...) to (B, ...)."""
        if self.drop_prob == 0 or not self.training:
            return branch
        kept = branch.new_empty((branch.shape[0],) + (1,) * (branch.ndim - 1)).bernoulli_(1 - self.drop_prob)
        return branch * kept.div_(1 - self.drop_prob)


class Attention(nn.Module):
    """Multi-head self-attention by PyTorch's fused kernel, or by `backbones.vit.attention` with decomposed positions.

    BEiT has a bias on Q and V only, and ``qkv.bias`` serves it too: a bias on K adds the same number to all logits of
    a query, which softmax ignores. Its gradient is zero but for rounding, and its value does not change the function.

    Args:
        dim: width D.
        num_heads: heads; D must be a multiple of it.
        rel_pos_grid: (H, W) of the decomposed relative-position tables (zero-initialised); None for no tables.
        table_grid: (H, W) of BEiT's relative-position table (zero-initialised, with class token); None for no table.
        attention: how to compute decomposed relative positions: one of `backbones.vit.attention.WAYS`, all exact, or
            'auto'.

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, or an unknown ``attention``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        rel_pos_grid: tuple[int, int] | None = None,
        table_grid: tuple[int, int] | None = None,
        attention: str = 'auto',
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'width {dim} cannot be split over {num_heads} heads: use a divisor of {dim}')
        if attention not in ('auto', *WAYS):
            raise ValueError(f"attention={attention!r} is unknown: use 'auto', {', '.join(map(repr, WAYS))}")
        self.attention = attention
        self.num_heads = num_heads
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.has_rel_pos = rel_pos_grid is not None
        if rel_pos_grid is not None:
            head_dim = dim // num_heads
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * rel_pos_grid[0] - 1, head_dim))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * rel_pos_grid[1] - 1, head_dim))
        self.table_grid = table_grid
        if table_grid is not None:
            self.relative_position_bias_table = nn.Parameter(torch.zeros(table_rows(table_grid), num_heads))
            self.table_bias = TableBias(table_grid)

    def forward(
        self,
        tokens: Tensor,
        grid: tuple[int, int] | None = None,
        bias: Tensor | None = None,
        queries: Tensor | None = None,
    ) -> Tensor:
        """Attend among tokens (B, N, D).

        Args:
            tokens: with relative positions N = H * W; with BEiT's table a class token may stand in front.
            grid: (H, W), needed with relative positions.
            bias: (heads, N, N) to add to the logits of a layer without relative positions of its own.
            queries: (B, M, D), some of the tokens; the output is then (B, M, D), for these alone. Not for layers with
                relative positions or bias.
        """
        query, key, value = self._project(tokens) if queries is None else self._project_for(queries, tokens)
        if self.has_rel_pos:
            assert grid is not None, 'relative positions need the grid'
            along = relative_terms(query, self.rel_pos_h, self.rel_pos_w, grid)
            mixed = attend(query, key, value, along, self._way(query, grid))
        else:
            if self.table_grid is not None:
                assert grid is not None, 'relative positions need the grid'
                bias = self.table_bias(self.relative_position_bias_table, grid, tokens.shape[1])
            mask = None if bias is None else bias.to(query.dtype)
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        # (B, heads, N, d) -> (B, N, D)
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def _project(self, tokens: Tensor) -> tuple[Tensor, ...]:
        batch, length, _ = tokens.shape
        # (B, N, 3 D) -> (3, B, heads, N, d)
        return self.qkv(tokens).reshape(batch, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def _project_for(self, queries: Tensor, tokens: Tensor) -> tuple[Tensor, ...]:
        assert not self.has_rel_pos and self.table_grid is None, 'relative positions need every token'
        batch, length, dim = tokens.shape
        weights, biases = self.qkv.weight.split([dim, 2 * dim]), self.qkv.bias.split([dim, 2 * dim])
        # (B, M, D) -> (B, heads, M, d)
        query = linear(queries, weights[0], biases[0]).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        # (B, N, 2 D) -> (2, B, heads, N, d)
        pairs = linear(tokens, weights[1], biases[1]).reshape(batch, length, 2, self.num_heads, -1)
        return query, *pairs.permute(2, 0, 3, 1, 4).unbind(0)

    def _way(self, query: Tensor, grid: tuple[int, int]) -> str:
        if self.attention != 'auto':
            return self.attention
        if is_exporting():
            # Use PyTorch's own operators; the comparisons in `choose_way` would fix the open sizes.
            return 'bias' if is_open(*grid) else choose_way('', query.shape[-1], grid)
        return choose_way(query.device.type, query.shape[-1], grid)


class Mlp(nn.Module):
    """Two linear layers with GELU in between, on the last axis."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden_dim)
        self.fc2 = Linear(hidden_dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """Pre-norm transformer block, optionally attending inside square windows only.

    Args:
        dim: width D.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLP divided by D.
        drop_path: probability of dropping a residual branch of a sample (stochastic depth).
        window_size: side M of the windows in tokens; 0 attends globally.
        rel_pos_grid: see `Attention`; (M, M) for a windowed block.
        table_grid: see `Attention`.
        layer_scale: initial factor of each channel of both branches (arXiv 2103.17239); None for no layer scale.
        attention: see `Attention`.

    Raises:
        ValueError: ``layer_scale`` is not above zero.
    """

    gamma_1: Tensor | None
    gamma_2: Tensor | None

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        window_size: int = 0,
        rel_pos_grid: tuple[int, int] | None = None,
        table_grid: tuple[int, int] | None = None,
        layer_scale: float | None = None,
        attention: str = 'auto',
    ) -> None:
        super().__init__()
        if layer_scale is not None and layer_scale <= 0:
            raise ValueError(f'layer_scale={layer_scale} would silence the branches: use None for no layer scale')
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.attn = Attention(dim, num_heads, rel_pos_grid, table_grid, attention)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)
        for name in ('gamma_1', 'gamma_2'):
            gamma = None if layer_scale is None else nn.Parameter(torch.full((dim,), float(layer_scale)))
            self.register_parameter(name, gamma)

    def forward(self, tokens: Tensor, grid: tuple[int, int] | None = None, bias: Tensor | None = None) -> Tensor:
        """Map tokens (B, N, D) to (B, N, D); see `Attention` for ``grid`` (windows need it too) and ``bias``."""
        tokens = tokens + self.drop_path(_scaled(self.gamma_1, self.attend(self.norm1(tokens), grid, bias)))
        return tokens + self.drop_path(_scaled(self.gamma_2, self.mlp(self.norm2(tokens))))

    def forward_at(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Compute `forward` at some places only; not for blocks with windows or relative positions.

        Args:
            tokens: (B, N, D).
            places: int64 (B, M), each in 0 ... N - 1.

        Returns:
            (B, M, D).
        """
        assert not self.window_size, 'windows need every token'
        normed, picked = self.norm1(tokens), gather_tokens(tokens, places)
        mixed = self.attn(normed, queries=gather_tokens(normed, places))
        picked = picked + self.drop_path(_scaled(self.gamma_1, mixed))
        return picked + self.drop_path(_scaled(self.gamma_2, self.mlp(self.norm2(picked))))

    def attend(self, tokens: Tensor, grid: tuple[int, int] | None, bias: Tensor | None = None) -> Tensor:
        """Attend globally or inside windows; the tokens (B, N, D) are already normalised."""
        if not self.window_size:
            return self.attn(tokens, grid, bias)
        assert grid is not None, 'windows need the grid'
        windows = window_partition(tokens, grid, self.window_size)
        windows = self.attn(windows, (self.window_size, self.window_size))
        return window_unpartition(windows, grid, self.window_size)


def _scaled(gamma: Tensor | None, branch: Tensor) -> Tensor:
    return branch if gamma is None else gamma * branch
