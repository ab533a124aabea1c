"""Point-wise spatial attention masks (Zhao et al., "PSANet", 2018), behind ``mmcv.ops.PSAMask``.

At every position (h, w), a window of weights is centred on the map; weights outside the map are dropped.
"""

import torch
from torch import Tensor

COLLECT = 0


def psamask_forward(
    window: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Place the windows.

    Args:
        window: (B, h_mask * w_mask, h_feature, w_feature).
        output: receives (B, HW, H, W): cell of the map, then position (collect), or the other way round (distribute).
        psa_type: 0 collect, 1 distribute.
        num_: B.
        h_feature: H.
        w_feature: W.
        h_mask: height of the window.
        w_mask: width of the window.
        half_h_mask: row of the window's centre.
        half_w_mask: column of the window's centre.
    """
    rows = _window_index(h_feature, h_mask, half_h_mask, window.device)
    columns = _window_index(w_feature, w_mask, half_w_mask, window.device)
    # (cell row, cell column, h, w)
    index = rows[:, None, :, None] * w_mask + columns[None, :, None, :]
    inside = (rows >= 0)[:, None, :, None] & (columns >= 0)[None, :, None, :]
    index = (index * inside).flatten(0, 1).expand(num_, -1, -1, -1)
    placed = window.gather(1, index) * inside.flatten(0, 1)
    output.copy_(placed if psa_type == COLLECT else _swap(placed))


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Write the gradient of `psamask_forward` into ``grad_input`` (B, h_mask * w_mask, H, W)."""
    collected = grad_output if psa_type == COLLECT else _swap(grad_output)
    rows = _cell_index(h_feature, h_mask, half_h_mask, grad_output.device)
    columns = _cell_index(w_feature, w_mask, half_w_mask, grad_output.device)
    # (window row, window column, h, w)
    index = rows[:, None, :, None] * w_feature + columns[None, :, None, :]
    inside = (rows >= 0)[:, None, :, None] & (columns >= 0)[None, :, None, :]
    index = (index * inside).flatten(0, 1).expand(num_, -1, -1, -1)
    grad_input.copy_(collected.gather(1, index) * inside.flatten(0, 1))


def _window_index(length: int, size: int, half: int, device: torch.device) -> Tensor:
    """Window row that lies on each cell, by cell and position: (length, length), -1 for none."""
    along = torch.arange(length, device=device)
    index = along[:, None] - along + half
    return index.masked_fill((index < 0) | (index >= size), -1)


def _cell_index(length: int, size: int, half: int, device: torch.device) -> Tensor:
    """Cell that lies under each window row, by window row and position: (size, length), -1 for none."""
    index = torch.arange(size, device=device)[:, None] + torch.arange(length, device=device) - half
    return index.masked_fill((index < 0) | (index >= length), -1)


def _swap(placed: Tensor) -> Tensor:
    """Exchange cell and position: (B, HW, H, W) -> (B, HW, H, W)."""
    return placed.flatten(2).transpose(1, 2).reshape(placed.shape)
