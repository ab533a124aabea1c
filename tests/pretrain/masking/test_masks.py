import pytest
import torch

from pretrain.masking.masks import (
    MASK_KINDS,
    block_mask,
    draw_mask,
    grid_mask,
    masked_count,
    random_mask,
    split_places,
    visible_count,
)


@pytest.mark.parametrize(
    ('length', 'ratio', 'expected'), [(196, 0.75, 147), (100, 0.9, 90), (100, 0.8, 80), (10, 0.33, 3), (7, 0.6, 4)]
)
def test_masked_count__rounds_and_does_not_truncate(length, ratio, expected):
    assert masked_count(length, ratio) == expected
    assert random_mask(3, length, ratio).sum(dim=1).tolist() == [expected] * 3


@pytest.mark.parametrize(('length', 'ratio'), [(4, 0.05), (4, 0.95), (196, 1.0), (196, 0.0), (196, -0.5), (16, 1.5)])
def test_masked_count__refuses_to_leave_nothing(length, ratio):
    with pytest.raises(ValueError, match=f'mask ratio {ratio} masks'):
        masked_count(length, ratio)


def test_random_mask__shape_and_type():
    mask = random_mask(5, 12, 0.7)
    assert mask.shape == (5, 12)
    assert mask.dtype == torch.bool


def test_random_mask__same_seed_same_mask():
    first = random_mask(5, 196, 0.75, torch.Generator().manual_seed(3))
    again = random_mask(5, 196, 0.75, torch.Generator().manual_seed(3))
    other = random_mask(5, 196, 0.75, torch.Generator().manual_seed(4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_random_mask__torch_seed_sets_it_without_generator():
    torch.manual_seed(5)
    first = random_mask(5, 196, 0.75)
    second = random_mask(5, 196, 0.75)
    torch.manual_seed(5)
    assert torch.equal(first, random_mask(5, 196, 0.75))
    assert not torch.equal(first, second)


def test_random_mask__uniform_over_places_and_independent_between_samples():
    mask = random_mask(8000, 10, 0.3).float()
    # Binomial: standard deviation 0.0051 of a place's share, 0.0048 of a pair's; five of them allowed.
    assert (mask.mean(dim=0) - 0.3).abs().max() < 0.026
    pairs = mask.T @ mask / 8000
    # Without replacement: 3 * 2 of 10 * 9 ordered pairs.
    assert (pairs[~torch.eye(10, dtype=torch.bool)] - 6 / 90).abs().max() < 0.014
    neighbours = (mask[:-1] * mask[1:]).mean()
    assert abs(neighbours - 0.09) < 0.01


@pytest.mark.parametrize('grid', [(14, 14), (6, 10)])
def test_grid_mask__three_quarters_keeps_one_of_each_two_by_two(grid):
    visible = ~grid_mask(20, grid, 0.75).reshape(20, *grid)
    for sample in visible:
        corners = [(row, column) for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)) if sample[row, column]]
        assert len(corners) == 1
        row, column = corners[0]
        assert sample[row::2, column::2].all()
        assert sample.sum() == grid[0] * grid[1] // 4


def test_grid_mask__half_is_a_chequerboard():
    for sample in grid_mask(20, (6, 10), 0.5).reshape(20, 6, 10):
        for row in range(6):
            for column in range(10):
                assert sample[row, column] == sample[0, 0] ^ bool((row + column) % 2)


def test_grid_mask__fifteen_of_sixteen_keeps_one_of_each_four_by_four():
    for sample in ~grid_mask(20, (8, 12), 15 / 16).reshape(20, 8, 12):
        row, column = sample[:4, :4].nonzero()[0].tolist()
        assert sample[row::4, column::4].all()
        assert sample.sum() == 6


def test_grid_mask__between_two_patterns_holds_the_coarser_one():
    for sample in ~grid_mask(20, (8, 12), 2 / 3).reshape(20, 8, 12):
        # 32 visible: the 24 of 2 x 2 and 8 of the 24 that make the chequerboard of it, evenly spread.
        even = [bool(sample[row::2, column::2].all()) for row, column in ((0, 0), (0, 1), (1, 0), (1, 1))]
        assert even.count(True) == 1
        row, column = divmod(even.index(True), 2)
        diagonal = sample[1 - row :: 2, 1 - column :: 2]
        assert diagonal.sum() == 8
        halves = [part.sum().item() for part in (diagonal[:2], diagonal[2:], diagonal[:, :3], diagonal[:, 3:])]
        assert max(halves) - min(halves) <= 4


@pytest.mark.parametrize('grid', [(14, 14), (5, 23), (3, 3), (2, 2), (1, 7), (9, 1), (25, 42)])
@pytest.mark.parametrize('ratio', [0.26, 0.4, 0.75, 0.85])
def test_grid_mask__exact_count_on_any_grid(grid, ratio):
    length = grid[0] * grid[1]
    mask = grid_mask(11, grid, ratio)
    assert mask.shape == (11, length)
    assert mask.dtype == torch.bool
    assert (mask.sum(dim=1) == round(length * ratio)).all()


@pytest.mark.parametrize(('grid', 'ratio'), [((14, 14), 0.75), ((13, 17), 0.75), ((14, 14), 0.65)])
def test_grid_mask__all_places_alike(grid, ratio):
    mask = grid_mask(8000, grid, ratio, torch.Generator().manual_seed(0)).float()
    # Noise 0.006 of a share; where the pattern does not divide the sides, the edge differs a little.
    assert (mask.mean(dim=0) - ratio).abs().max() < 0.05


@pytest.mark.parametrize('kind', MASK_KINDS)
def test_draw_mask__seed_decides(kind):
    first, again, other = (
        draw_mask(kind, 9, (6, 7), 0.6, torch.Generator().manual_seed(seed), 'cpu') for seed in (3, 3, 4)
    )
    assert first.shape == (9, 42)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(5)
    drawn = draw_mask(kind, 9, (6, 7), 0.6)
    torch.manual_seed(5)
    assert torch.equal(draw_mask(kind, 9, (6, 7), 0.6), drawn)


def test_draw_mask__kinds_differ():
    def seeded():
        return torch.Generator().manual_seed(1)

    assert torch.equal(draw_mask('random', 9, (6, 7), 0.6, seeded()), random_mask(9, 42, 0.6, seeded()))
    assert torch.equal(draw_mask('block', 9, (6, 7), 0.6, seeded()), block_mask(9, (6, 7), 0.6, seeded()))
    assert torch.equal(draw_mask('grid', 9, (6, 7), 0.6, seeded()), grid_mask(9, (6, 7), 0.6, seeded()))
    drawn = [draw_mask(kind, 9, (6, 7), 0.6, seeded()) for kind in MASK_KINDS]
    assert not torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[1], drawn[2])


@pytest.mark.parametrize('kind', MASK_KINDS)
def test_draw_mask__device(kind):
    assert draw_mask(kind, 2, (6, 7), 0.6, device='meta').device.type == 'meta'


def test_draw_mask__unknown_kind():
    with pytest.raises(ValueError, match="mask kind 'blocks' is unknown: use one of random, block, grid"):
        draw_mask('blocks', 2, (6, 7), 0.6)


def test_split_places__in_order():
    mask = torch.tensor([[True, False, True, False, False], [False, True, False, True, False]])
    visible, masked = split_places(mask, 3)
    assert visible.tolist() == [[1, 3, 4], [0, 2, 4]]
    assert masked.tolist() == [[0, 2], [1, 3]]


def test_split_places__long_masks_stay_in_order():
    mask = random_mask(3, 400, 0.6)
    expected = [[place for place in range(400) if not row[place]] for row in mask.tolist()]
    assert split_places(mask, 160)[0].tolist() == expected


def test_visible_count__the_number_common_to_all():
    assert visible_count(torch.tensor([[True, False, False], [False, True, False]])) == 2


def test_visible_count__refuses_a_ragged_batch():
    with pytest.raises(ValueError, match=r'this mask leaves \[1, 2\]'):
        visible_count(torch.tensor([[True, False, False], [True, True, False]]))
