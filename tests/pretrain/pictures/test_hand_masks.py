import cv2
import numpy as np
import pytest
import torch

from pretrain.pictures.hand_masks import drawn_masks, read_mask, read_masks

PATTERN = [[1, 1, 0, 0, 0], [1, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
EXPECTED = torch.tensor(PATTERN, dtype=torch.bool).reshape(1, 15)


@pytest.mark.parametrize(
    'text', ['##...\n#...#\n....#\n', '11000\n10001\n00001', '# # . . .\n\n# . . . #\n. . . . #\n']
)
def test_read_mask__text(tmp_path, text):
    (tmp_path / 'm.txt').write_text(text)
    assert torch.equal(read_mask(tmp_path / 'm.txt', (3, 5)), EXPECTED)


@pytest.mark.parametrize('scale', [1, 8])
def test_read_mask__image_of_patches_or_pixels(tmp_path, scale):
    pixels = np.kron(np.array(PATTERN, np.uint8) * 255, np.ones((scale, scale), np.uint8))
    if scale > 1:
        # Less than half of a patch does not decide about it.
        pixels[16:19, 0:8] = 255
    cv2.imwrite(str(tmp_path / 'm.png'), pixels)
    assert torch.equal(read_mask(tmp_path / 'm.png', (3, 5)), EXPECTED)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('##...\n#...#\n', r'has 2 rows of \[5\] patches, the model 3 rows of 5'),
        ('##...\n#...\n....#\n', r'has 3 rows of \[4, 5\] patches'),
        ('##..x\n#...#\n....#\n', "has 'x', where #"),
        ('#####\n#####\n#####\n', 'hides every patch'),
        ('.....\n.....\n.....\n', 'hides no patch'),
    ],
)
def test_read_mask__texts_that_do_not_fit(tmp_path, text, message):
    (tmp_path / 'm.txt').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_mask(tmp_path / 'm.txt', (3, 5))


@pytest.mark.parametrize('size', [(5, 3), (6, 5), (2, 5), (24, 41)])
def test_read_mask__images_of_another_size(tmp_path, size):
    cv2.imwrite(str(tmp_path / 'm.png'), np.zeros(size, np.uint8))
    with pytest.raises(ValueError, match=f'is {size[0]}x{size[1]}: a mask has a pixel for each of the 3x5 patches'):
        read_mask(tmp_path / 'm.png', (3, 5))


def test_read_masks__one_for_all_images(tmp_path):
    (tmp_path / 'm.txt').write_text('##...\n#...#\n....#\n')
    masks = read_masks([tmp_path / 'm.txt'], 4, (3, 5))
    assert list(masks) == ['masked by m.txt']
    assert torch.equal(masks['masked by m.txt'], EXPECTED.expand(4, 15))


def test_drawn_masks__ratios_hide_more_and_more():
    masks = drawn_masks(3, (14, 14), 'random', [0.75, 0.85, 0.955], seed=2)
    assert list(masks) == ['masked 75%', 'masked 85%', 'masked 95.5%']
    small, middle, large = masks.values()
    assert (small & ~middle).sum() == 0 and (middle & ~large).sum() == 0
    assert [mask.sum(dim=1).tolist() for mask in masks.values()] == [[147] * 3, [167] * 3, [187] * 3]


def test_drawn_masks__kind_in_the_title_and_seed():
    first, again, other = (drawn_masks(3, (6, 7), 'block', [0.5], seed)['masked 50% (block)'] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
