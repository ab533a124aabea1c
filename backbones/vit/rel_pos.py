"""Decomposed relative positions of MViTv2 (arXiv 2112.01526), as ViTDet (arXiv 2203.16527) uses them.

Letters: B batch, N heads, H, W grid, L = H * W tokens, d head width, S size of the table's grid along one axis.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from backbones.vit.exporting import same_grid


def relative_rows(table: Tensor, size: int) -> Tensor:
    """Look up the row of each (query, key) pair along one axis.

    Args:
        table: (2 S - 1, d); resampled linearly when S is not ``size``.
        size: positions along the axis.

    Returns:
        (size, size, d), indexed [query, key]; row 0 of the table is the largest negative offset.
    """
    length = 2 * size - 1
    if not same_grid(table.shape[:1], (length,)):
        # (2 S - 1, d) -> (1, d, 2 S - 1), resampled, and back
        resampled = F.interpolate(table.float().t()[None], size=length, mode='linear')
        table = resampled[0].t().to(table.dtype)
    positions = torch.arange(size, device=table.device)
    return table[positions[:, None] - positions[None, :] + size - 1]


def relative_terms(query: Tensor, rel_pos_h: Tensor, rel_pos_w: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Compute the attention bias terms ``q . R_h`` and ``q . R_w`` from the *unscaled* query, as detectron2 does.

    Args:
        query: (B, N, L, d), not yet scaled by 1 / sqrt(d).
        rel_pos_h: (2 S_h - 1, d) table of vertical offsets.
        rel_pos_w: (2 S_w - 1, d) table of horizontal offsets.
        grid: (H, W) with H * W = L.

    Returns:
        (B, N, L, H) indexed by the key's row, and (B, N, L, W) by its column, in the query's dtype.
    """
    height, width = grid
    rows_h = relative_rows(rel_pos_h, height).to(query.dtype)
    rows_w = relative_rows(rel_pos_w, width).to(query.dtype)
    # (B, N, L, d) -> (B, N, H, W, d)
    places = query.unflatten(2, grid)
    along_h = torch.einsum('bnhwd,hkd->bnhwk', places, rows_h)
    along_w = torch.einsum('bnhwd,wkd->bnhwk', places, rows_w)
    return along_h.flatten(2, 3), along_w.flatten(2, 3)
