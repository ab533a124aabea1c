"""Three exact ways to attend with decomposed relative positions (`backbones.vit.rel_pos`), and the rule that picks one.

Letters: B batch, N heads, H, W grid, L = H * W tokens, d head width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from backbones.vit.attention_chunked import chunked_attention

WAYS = ('bias', 'fold', 'chunk')
# Flash kernels accept heads up to this width.
FLASH_WIDTH = 256
# Up to this many tokens (windows), the bias of all pairs is small compared with what 'fold' adds to the heads.
SMALL = 256


def choose_way(device_type: str, head_dim: int, grid: tuple[int, int]) -> str:
    """Pick the way to attend for ``attention='auto'``.

    On a CPU 'chunk' trains fastest and with least memory. ``dense-mae benchmark attention`` on one EPYC core gave for
    ViT-B, forward with backward: 2.8 s against 6.1 'fold' and 4.6 'bias' on 64 x 64 tokens, and 0.27 against 0.28 and
    0.44 in 25 windows of 14 x 14. Forward alone took 0.78 against 1.74 and 1.14, and in windows 0.076 against 0.088
    and 0.069, too small a loss to switch for. On other devices global blocks fold, so that the flash kernel runs;
    windows are too small to gain from it. This half of the rule is not measured.
    """
    if device_type == 'cpu':
        return 'chunk'
    small = grid[0] * grid[1] <= SMALL
    return 'bias' if small or folded_width(head_dim, grid) > FLASH_WIDTH else 'fold'


def attend(query: Tensor, key: Tensor, value: Tensor, along: tuple[Tensor, Tensor], way: str) -> Tensor:
    """Attend with the bias ``along_h[..., y of key] + along_w[..., x of key]`` on the logits.

    Args:
        query: (B, N, L, d), not yet scaled; ``key`` and ``value`` have the same shape.
        key: see ``query``.
        value: see ``query``.
        along: (B, N, L, H) and (B, N, L, W), from `backbones.vit.rel_pos.relative_terms`.
        way: one of `WAYS`; 'fold' falls back to 'bias' where it is too wide for flash attention.

    Returns:
        (B, N, L, d).
    """
    grid = (along[0].shape[-1], along[1].shape[-1])
    if way == 'chunk':
        return chunked_attention(query, key, value, *along)
    if way == 'fold' and folded_width(query.shape[-1], grid) <= FLASH_WIDTH:
        return _folded(query, key, value, along)
    # (B, N, L, H, 1) + (B, N, L, 1, W) -> (B, N, L, L)
    bias = (along[0][..., :, None] + along[1][..., None, :]).flatten(-2)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


def folded_width(head_dim: int, grid: tuple[int, int]) -> int:
    """Width of a head that carries its relative positions, rounded up to a multiple of 8 for flash kernels."""
    width = head_dim + grid[0] + grid[1]
    return width + -width % 8


def _folded(query: Tensor, key: Tensor, value: Tensor, along: tuple[Tensor, Tensor]) -> Tensor:
    """Fold the bias into the product [s q, q.Rh, q.Rw] . [k, onehot(y), onehot(x)]; makes no (L, L) tensor."""
    height, width = along[0].shape[-1], along[1].shape[-1]
    head_dim = query.shape[-1]
    spare = folded_width(head_dim, (height, width)) - head_dim - height - width
    rows = torch.eye(height, dtype=key.dtype, device=key.device).repeat_interleave(width, dim=0)
    columns = torch.eye(width, dtype=key.dtype, device=key.device).repeat(height, 1)
    # (L, H + W), the same for all heads
    places = F.pad(torch.cat([rows, columns], dim=1), (0, spare)).expand(*key.shape[:3], -1)
    wide_query = torch.cat([query * head_dim**-0.5, F.pad(torch.cat(along, dim=-1), (0, spare))], dim=-1)
    wide_key = torch.cat([key, places], dim=-1)
    # Values narrower than the keys would send PyTorch to its slow kernel.
    wide_value = F.pad(value, (0, wide_key.shape[-1] - head_dim))
    return F.scaled_dot_product_attention(wide_query, wide_key, wide_value, scale=1.0)[..., :head_dim]
