import math
import statistics

import pytest
import torch

from pretrain.masking.patches import image_grid, normalise_patches, patch_statistics, patchify, unpatchify


def loop_patchify(images, p):
    batch, channels, height, width = images.shape
    vectors = []
    for image in range(batch):
        for row in range(height // p):
            for column in range(width // p):
                for y in range(p):
                    for x in range(p):
                        for channel in range(channels):
                            vectors.append(images[image, channel, row * p + y, column * p + x])
    return torch.stack(vectors).reshape(batch, (height // p) * (width // p), p * p * channels)


@pytest.mark.parametrize(('channels', 'height', 'width', 'p'), [(3, 6, 10, 2), (1, 8, 4, 4), (4, 3, 9, 3)])
def test_patchify__equals_loop(channels, height, width, p):
    images = torch.randn(2, channels, height, width)
    assert torch.equal(patchify(images, p), loop_patchify(images, p))


def test_patchify__patches_by_rows_channels_last():
    """Each pixel holds its own number: image, row, column, channel."""
    images = torch.arange(2 * 3 * 32 * 80).reshape(2, 32, 80, 3).permute(0, 3, 1, 2)
    patches = patchify(images, 16)
    assert patches.shape == (2, 10, 768)
    # The seventh patch begins at row 16, column 16.
    assert patches[1, 6, :4].tolist() == [((32 + 16) * 80 + 16) * 3 + step for step in range(4)]
    assert patches[1, 6, 16 * 3].item() == ((32 + 17) * 80 + 16) * 3


def test_unpatchify__undoes_patchify():
    images = torch.randn(2, 3, 12, 20)
    assert torch.equal(unpatchify(patchify(images, 4), (3, 5), 4), images)


@pytest.mark.parametrize('size', [(30, 32), (32, 40)])
def test_image_grid__refuses_part_patches(size):
    with pytest.raises(ValueError, match=f'{size[0]}x{size[1]} is not a multiple of 16'):
        image_grid(torch.zeros(1, 3, *size), 16)


def test_image_grid__height_first():
    assert image_grid(torch.zeros(1, 3, 32, 80), 16) == (2, 5)


def test_patch_statistics__unbiased_over_all_values_of_a_patch():
    patches = 3 * torch.randn(2, 5, 12, dtype=torch.float64) + 1
    mean, deviation = patch_statistics(patches)
    assert mean.shape == deviation.shape == (2, 5, 1)
    for sample in range(2):
        for patch in range(5):
            values = patches[sample, patch].tolist()
            assert mean[sample, patch].item() == pytest.approx(statistics.fmean(values), rel=1e-12)
            expected = math.sqrt(statistics.variance(values) + 1e-6)
            assert deviation[sample, patch].item() == pytest.approx(expected, rel=1e-12)


def test_normalise_patches__flat_patch_is_zero():
    patches = torch.stack([torch.full((1, 12), 0.7), torch.randn(1, 12)], dim=1)
    target = normalise_patches(patches)
    assert torch.allclose(target[:, 0], torch.zeros(1, 12), atol=1e-3)
    assert target[:, 1].std().item() == pytest.approx(1, abs=1e-4)
