"""Cut a grid of tokens into windows, as ViTDet (arXiv 2203.16527) does.

Letters: B batch, H, W grid in patches, D width, M side of a window in tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from backbones.vit.exporting import is_open


def window_partition(tokens: Tensor, grid: tuple[int, int], window: int) -> Tensor:
    """Cut a grid of tokens into windows, zero-padded right and below (ViTDet pads after norm1).

    Args:
        tokens: (B, H * W, D).
        grid: (H, W).
        window: side M.

    Returns:
        (B * ceil(H / M) * ceil(W / M), M * M, D).
    """
    batch, _, dim = tokens.shape
    height, width = grid
    places = tokens.reshape(batch, height, width, dim)
    rows, columns = (height + window - 1) // window, (width + window - 1) // window
    places = F.pad(places, (0, 0, 0, columns * window - width, 0, rows * window - height))
    # (B, rows M, columns M, D) -> (B rows columns, M M, D)
    places = places.reshape(batch, rows, window, columns, window, dim).transpose(2, 3)
    return places.reshape(batch * rows * columns, window * window, dim)


def window_unpartition(windows: Tensor, grid: tuple[int, int], window: int) -> Tensor:
    """Undo `window_partition`: map (B * rows * columns, M * M, D) back to (B, H * W, D), without the padding."""
    height, width = grid
    rows, columns = (height + window - 1) // window, (width + window - 1) // window
    batch, dim = windows.shape[0] // (rows * columns), windows.shape[-1]
    # (B rows columns, M M, D) -> (B, rows M, columns M, D)
    places = windows.reshape(batch, rows, columns, window, window, dim).transpose(2, 3)
    places = places.reshape(batch, rows * window, columns * window, dim)
    if is_open(height, width):
        # Whether a slice has gaps in memory depends on the size; an exported program must not depend on that.
        down, across = (torch.arange(size, device=windows.device) for size in grid)
        return places.flatten(1, 2)[:, (down[:, None] * (columns * window) + across).flatten()]
    return places[:, :height, :width].reshape(batch, height * width, dim)
