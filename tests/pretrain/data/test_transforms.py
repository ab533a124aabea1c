"""The augmentation against torchvision on Pillow images, as the paper's code ran it."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from pretrain.data.transforms import augment, draw_crop, resize


def picture(height, width):
    """Smooth waves with sharp edges: both what bicubic does well and where it overshoots."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 7), np.cos(y / 5), np.sin((x + y) / 11)], axis=-1)
    waves[(x // 16 + y // 16) % 3 == 0] *= -1
    return (127.5 + 127.5 * waves).astype(np.uint8)


@pytest.mark.parametrize('size', [(32, 32), (48, 96), (224, 224)])
@pytest.mark.parametrize('height,width', [(375, 500), (60, 90), (900, 1300)])
def test_resize__pillow_bicubic(size, height, width):
    pixels = picture(height, width)
    ours = resize(torch.from_numpy(pixels).permute(2, 0, 1), size)
    theirs = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.BICUBIC))
    difference = np.abs(ours.permute(1, 2, 0).numpy().astype(int) - theirs)
    assert ours.dtype == torch.uint8
    # One level, but where bicubic overshoots a hard edge: there the two round and clip in another order.
    assert (difference > 1).mean() < 0.01
    assert difference.mean() < 0.1


def test_augment__crops_before_it_resizes():
    pixels = picture(120, 160)
    generator, copy = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    ours = augment(torch.from_numpy(pixels).permute(2, 0, 1), (32, 48), (0.2, 0.4), generator).permute(1, 2, 0).numpy()
    top, left, h, w = draw_crop((120, 160), (0.2, 0.4), copy)
    crop = Image.fromarray(pixels[top : top + h, left : left + w]).resize((48, 32), Image.BICUBIC)
    theirs = np.asarray(crop).astype(int)
    difference = min((np.abs(ours - theirs), np.abs(ours - theirs[:, ::-1])), key=np.mean)
    assert h * w < 0.41 * 120 * 160
    assert (difference > 1).mean() < 0.01


def test_draw_crop__distribution_of_torchvision():
    size, scale = (300, 500), (0.2, 1.0)
    image = torch.zeros(3, *size)
    ours = torch.tensor([draw_crop(size, scale) for _ in range(6000)]).double()
    theirs = torch.tensor([RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3)) for _ in range(6000)]).double()
    for quantity in (
        lambda box: box[:, 2] * box[:, 3] / (300 * 500),
        lambda box: (box[:, 3] / box[:, 2]).log(),
        lambda box: box[:, 0] / 300,
        lambda box: box[:, 1] / 500,
    ):
        mine, other = quantity(ours), quantity(theirs)
        # Means of 6000 draws: five standard errors of their difference.
        assert abs(mine.mean() - other.mean()) < 5 * other.std() * math.sqrt(2 / 6000)
        assert mine.std().item() == pytest.approx(other.std().item(), rel=0.06)


def test_draw_crop__stays_inside():
    for size in ((7, 300), (300, 7), (1, 1), (2, 3)):
        for _ in range(200):
            top, left, h, w = draw_crop(size, (0.2, 1.0))
            assert h > 0 and w > 0
            assert 0 <= top <= top + h <= size[0]
            assert 0 <= left <= left + w <= size[1]


@pytest.mark.parametrize(
    ('size', 'expected'), [((10, 400), (0, 193, 10, 13)), ((400, 10), (193, 0, 13, 10)), ((100, 100), (0, 0, 100, 100))]
)
def test_draw_crop__whole_area_takes_the_middle_of_long_images(size, expected):
    # A share of 1 never fits unless the image has an allowed ratio by chance.
    boxes = {draw_crop(size, (1.0, 1.0), torch.Generator().manual_seed(seed)) for seed in range(20)}
    assert expected in boxes
    if size != (100, 100):
        assert boxes == {expected}


def test_augment__mirrors_every_other_image():
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    image[:, :, 20:] = 200
    bright_left = [augment(image, (8, 8), (1.0, 1.0))[0, 4, 0].item() > 100 for _ in range(400)]
    # Binomial(400, 0.5): five standard deviations are 50.
    assert 150 < sum(bright_left) < 250


def test_augment__shape_height_first():
    image = torch.from_numpy(picture(60, 90)).permute(2, 0, 1)
    assert augment(image, (32, 48), (0.2, 1.0)).shape == (3, 32, 48)


def test_augment__generator_decides():
    image = torch.from_numpy(picture(60, 90)).permute(2, 0, 1)
    first, again, other = (
        augment(image, (32, 48), (0.2, 1.0), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
