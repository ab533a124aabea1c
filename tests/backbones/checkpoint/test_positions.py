"""Grids of position tables: told by the file or the user, by the fixed table itself, or asked for."""

import pytest
import torch

from backbones.checkpoint.load import load_pretrained
from backbones.checkpoint.positions import fit_positions, grid_of, prefix_rows
from backbones.checkpoint.resize import fit_table
from backbones.vit.pos_embed import resample_pos_embed, sincos_pos_embed
from tests.backbones.checkpoint.test_load import assert_equal, refused, toy, weights


def learned(places):
    return torch.randn(1, 1 + places, 24)


def test_load_pretrained__learned_table_with_as_many_places_as_a_square():
    # 4 x 9 patches of 8 pixels, and 6 x 6.
    state = weights(img_size=(32, 72)) | {'pos_embed': learned(36)}
    message = refused(toy(img_size=(32, 72)), {'model': state})
    assert '37 learned positions, 6x6 or 4x9: the file does not tell their grid' in message
    told = toy(img_size=(32, 72), pretrain_img_size=(32, 72))
    assert not load_pretrained(told, {'model': state}).resized
    assert_equal(told, state)
    square = toy(img_size=(32, 72), pretrain_img_size=48)
    load_pretrained(square, {'model': state})
    assert_equal(square, state)
    # The run's own config tells too.
    text = "model = dict(encoder=dict(type='PlainViT', variant=dict(embed_dim=24, depth=2, num_heads=2), "
    content = {
        'state_dict': {f'encoder.{name}': value for name, value in state.items()},
        'meta': {'cfg': f'{text}img_size=(32, 72), patch_size=8))'},
    }
    model = toy(img_size=(32, 72))
    assert not load_pretrained(model, content).resized
    assert_equal(model, state)
    other = toy(img_size=48)
    load_pretrained(other, content)
    expected = resample_pos_embed(state['pos_embed'], (4, 9), (6, 6))
    torch.testing.assert_close(other.pos_embed.data, expected, rtol=0, atol=0)


@pytest.mark.parametrize('noise', [0.0, 0.1])
@pytest.mark.parametrize('layout', [0, 12])
@pytest.mark.parametrize('grid', [(4, 9), (9, 4), (4, 6), (6, 4), (2, 12), (6, 6)])
def test_fit_positions__fixed_table_tells_its_grid(grid, layout, noise):
    table = sincos_pos_embed(24, grid).roll(layout, dims=2) + noise * torch.randn(1, 1, 24)
    torch.testing.assert_close(fit_positions(table, (5, 7)), resample_pos_embed(table, grid, (5, 7)), rtol=0, atol=0)
    assert fit_positions(table, grid) is table


def test_load_pretrained__learned_grid_that_is_assumed_is_said():
    state = weights(img_size=(32, 56)) | {'pos_embed': learned(28)}
    told = "the grid of the positions is not in the file: the model's assumed"
    assert told in load_pretrained(toy(img_size=(32, 56)), {'model': state}).assumed
    sized = toy(img_size=64, pretrain_img_size=(32, 56))
    assert told not in load_pretrained(sized, {'model': state}).assumed
    assert 'learned positions that are no square' in refused(toy(img_size=64), {'model': state})


@pytest.mark.parametrize(
    ('rows', 'grid', 'known', 'prefix'),
    [
        (25, (5, 5), None, 0),
        (25, (4, 6), None, 1),
        (25, (9, 9), None, 0),
        (26, (2, 13), None, 1),
        (26, (2, 13), (2, 13), 0),
        (17, None, None, 1),
        (24, (9, 9), None, 1),
    ],
)
def test_prefix_rows(rows, grid, known, prefix):
    assert prefix_rows(rows, grid, known) == prefix


def test_grid_of__learned():
    assert grid_of(learned(36)) == (6, 6)
    assert grid_of(learned(36), (8, 8)) == (6, 6)
    assert grid_of(learned(36), (4, 9)) is None
    assert grid_of(learned(36), (4, 9), (4, 9)) == (4, 9)
    assert grid_of(learned(28)) is None
    assert grid_of(learned(28), (4, 7)) == (4, 7)
    # What is known of another number of places does not help.
    assert grid_of(learned(36), (8, 8), (5, 5)) == (6, 6)


def test_fit_table__as_many_rows_as_a_square():
    # (2 * 8 - 1) ** 2 == (2 * 5 - 1) * (2 * 13 - 1)
    table = torch.randn(15 * 15 + 3, 2)
    assert fit_table(table, (5, 13)) is None
    assert fit_table(table, (8, 8)) is table
    assert fit_table(table, (4, 4)).shape == (7 * 7 + 3, 2)
