import math

import pytest
import torch
import torch.nn.functional as F

from backbones.vit.pos_embed import resample_pos_embed, sincos_pos_embed, tile_pos_embed


def test_sincos_pos_embed__plain_loop():
    dim, grid = 12, (2, 3)
    table = sincos_pos_embed(dim, grid, prefix_tokens=1)
    expected = [[0.0] * dim]
    for y in range(grid[0]):
        for x in range(grid[1]):
            row = []
            for position in (x, y):
                angles = [position / 10000 ** (i / (dim // 4)) for i in range(dim // 4)]
                row += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            expected.append(row)
    torch.testing.assert_close(table, torch.tensor([expected]), atol=1e-6, rtol=0)


def test_sincos_pos_embed__no_prefix():
    with_prefix = sincos_pos_embed(8, (3, 2), prefix_tokens=1)
    torch.testing.assert_close(sincos_pos_embed(8, (3, 2), prefix_tokens=0), with_prefix[:, 1:])


def test_sincos_pos_embed__width_not_multiple_of_4():
    with pytest.raises(ValueError, match='multiple of 4, not 6'):
        sincos_pos_embed(6, (2, 2))


def test_resample_pos_embed__same_grid_is_identity():
    table = torch.randn(1, 7, 4)
    assert resample_pos_embed(table, (2, 3), (2, 3)) is table


def test_resample_pos_embed__each_channel_by_itself():
    table = torch.randn(1, 1 + 6, 4)
    result = resample_pos_embed(table, (2, 3), (5, 4))
    for channel in range(4):
        image = table[0, 1:, channel].reshape(1, 1, 2, 3)
        expected = F.interpolate(image, size=(5, 4), mode='bicubic', antialias=False).reshape(-1)
        torch.testing.assert_close(result[0, 1:, channel], expected)
    torch.testing.assert_close(result[:, :1], table[:, :1])


def test_resample_pos_embed__keeps_dtype():
    assert resample_pos_embed(torch.randn(1, 4, 8).bfloat16(), (2, 2), (3, 3), 0).dtype == torch.bfloat16


def test_resample_pos_embed__wrong_rows():
    with pytest.raises(ValueError, match='2x3 grid with 1 prefix rows has 7 rows, this one has 6'):
        resample_pos_embed(torch.randn(1, 6, 4), (2, 3), (4, 4))


def test_tile_pos_embed__plain_loop():
    table = torch.randn(1, 2 * 3, 4)
    tiled = tile_pos_embed(table, (2, 3), (5, 4))
    for y in range(5):
        for x in range(4):
            assert torch.equal(tiled[0, y * 4 + x], table[0, y % 2 * 3 + x % 3])
