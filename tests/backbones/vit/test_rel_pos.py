import torch
import torch.nn.functional as F

from backbones.vit.rel_pos import relative_rows, relative_terms


def test_relative_rows__offset_by_loop():
    size, table = 4, torch.randn(7, 3)
    rows = relative_rows(table, size)
    for query in range(size):
        for key in range(size):
            torch.testing.assert_close(rows[query, key], table[query - key + size - 1])


def test_relative_rows__resampled_linearly():
    table = torch.randn(5, 2)
    rows = relative_rows(table, 6)
    for channel in range(2):
        line = F.interpolate(table[None, None, :, channel], size=11, mode='linear')[0, 0]
        torch.testing.assert_close(rows[:, 0, channel], line[5:])


def test_relative_terms__plain_loop():
    batch, heads, grid, head_dim = 2, 3, (2, 4), 5
    query = torch.randn(batch, heads, 8, head_dim)
    table_h, table_w = torch.randn(3, head_dim), torch.randn(7, head_dim)
    along_h, along_w = relative_terms(query, table_h, table_w, grid)
    for q in range(8):
        for k in range(8):
            (qy, qx), (ky, kx) = divmod(q, 4), divmod(k, 4)
            for channels, offset in (
                (along_h[:, :, q, ky], table_h[qy - ky + 1]),
                (along_w[:, :, q, kx], table_w[qx - kx + 3]),
            ):
                torch.testing.assert_close(channels, query[:, :, q] @ offset)
