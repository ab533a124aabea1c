import pytest
import torch

from pretrain.masking import gather_tokens, masked_count, random_mask, split_places, visible_count


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


def test_split_places__in_order():
    mask = torch.tensor([[True, False, True, False, False], [False, True, False, True, False]])
    visible, masked = split_places(mask, 3)
    assert visible.tolist() == [[1, 3, 4], [0, 2, 4]]
    assert masked.tolist() == [[0, 2], [1, 3]]


def test_split_places__long_masks_stay_in_order():
    mask = random_mask(3, 400, 0.6)
    expected = [[place for place in range(400) if not row[place]] for row in mask.tolist()]
    assert split_places(mask, 160)[0].tolist() == expected


def test_gather_tokens__the_visible_ones():
    tokens = torch.randn(2, 5, 3)
    index = torch.tensor([[4, 0], [1, 2]])
    gathered = gather_tokens(tokens, index)
    assert gathered.shape == (2, 2, 3)
    for sample, row in enumerate(index.tolist()):
        for place, source in enumerate(row):
            assert torch.equal(gathered[sample, place], tokens[sample, source])


def test_visible_count__the_number_common_to_all():
    assert visible_count(torch.tensor([[True, False, False], [False, True, False]])) == 2


def test_visible_count__refuses_a_ragged_batch():
    with pytest.raises(ValueError, match=r'this mask leaves \[1, 2\]'):
        visible_count(torch.tensor([[True, False, False], [True, True, False]]))
