"""Decomposed relative positions of MViTv2 (arXiv 2112.01526), as ViTDet (arXiv 2203.16527) uses them.

Letters: B batch, N heads, H, W grid, L = H * W tokens, d head width, S size of the table's grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def relative_rows(table: Tensor, size: int) -> Tensor:
    """Look up the row of each (query, key) pair along one axis.

    Args:
        table: (2 S - 1, d); resampled linearly when S is not ``size``.
        size: positions along the axis.

    Returns:
        (size, size, d), indexed [query, key]; row 0 of the table is the largest negative offset.
    """
    length = 2 * size - 1
    if table.shape[0] != length:
        # (2 S - 1, d) -> (1, d, 2 S - 1), resampled, and back
        resampled = F.interpolate(table.float().t()[None], size=length, mode='linear')
        table = resampled[0].t().to(table.dtype)
    positions = torch.arange(size, device=table.device)
    return table[positions[:, None] - positions[None, :] + size - 1]


def decomposed_bias(query: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid: tuple[int, int]) -> Tensor:
    """Additive attention bias ``q . R_h + q . R_w`` from the *unscaled* query (detectron2's convention).

    Args:
        query: (B, N, L, d), before the 1 / sqrt(d) scale.
        rel_pos_h: (2 S_h - 1, d) table of vertical offsets.
        rel_pos_w: (2 S_w - 1, d) table of horizontal offsets.
        grid: (H, W) with H * W = L.

    Returns:
        (B, N, L, L) in the query's dtype.
    """
    height, width = grid
    batch, heads, length, head_dim = query.shape
    rows_h = relative_rows(rel_pos_h, height).to(query.dtype)
    rows_w = relative_rows(rel_pos_w, width).to(query.dtype)
    # (B, N, L, d) -> (B, N, H, W, d)
    places = query.reshape(batch, heads, height, width, head_dim)
    bias_h = torch.einsum('bnhwd,hkd->bnhwk', places, rows_h)
    bias_w = torch.einsum('bnhwd,wkd->bnhwk', places, rows_w)
    # (B, N, H, W, H, 1) + (B, N, H, W, 1, W) -> (B, N, L, L)
    bias = bias_h[..., :, None] + bias_w[..., None, :]
    return bias.reshape(batch, heads, length, length)
