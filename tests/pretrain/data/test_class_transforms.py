"""Evaluation's crop against torchvision on Pillow images, and training's randomness."""

import cv2
import numpy as np
import pytest
import torch
import torchvision.transforms as vision
from PIL import Image, ImageOps

from pretrain.data.class_transforms import EvalTransform, TrainTransform


def picture(height, width):
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)


def channels_first(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1)


@pytest.mark.parametrize('shape', [(257, 333), (400, 250), (100, 90)])
@pytest.mark.parametrize(('size', 'resized'), [(96, 109), (224, 256), (240, 240)])
def test_eval__is_torchvisions_resize_and_centre_crop(shape, size, resized):
    pixels = picture(*shape)
    theirs = vision.Compose(
        [vision.Resize(resized, interpolation=vision.InterpolationMode.BICUBIC), vision.CenterCrop(size)]
    )
    expected = channels_first(np.array(theirs(Image.fromarray(pixels))))
    actual = EvalTransform(size)(channels_first(pixels))
    assert actual.shape == (3, size, size)
    # Rounding of the two filters; a shift by a pixel makes tens of grey levels.
    difference = (actual.int() - expected.int()).abs()
    assert difference.max() <= 2
    assert difference.float().mean() < 0.1


def test_eval__crop_pct_changes_what_is_seen():
    ramp = np.repeat(np.linspace(0, 255, 200).astype(np.uint8)[None, :, None], 200, 0).repeat(3, 2)
    spread = {share: np.ptp(EvalTransform(64, share)(channels_first(ramp)).numpy()) for share in (0.5, 1.0)}
    assert spread[0.5] == pytest.approx(255 * 0.5, abs=4)
    assert spread[1.0] == pytest.approx(255, abs=4)


def test_eval__rectangle_covers_its_share_of_the_tighter_side():
    ramp = np.repeat(np.linspace(0, 255, 400).astype(np.uint8)[None, :, None], 100, 0).repeat(3, 2)
    crop = EvalTransform((32, 64), 1.0)(channels_first(ramp))
    assert crop.shape == (3, 32, 64)
    # Full height, and so half of the width.
    assert np.ptp(crop.numpy()) == pytest.approx(127.5, abs=4)


def test_eval__refuses_a_share_beyond_one():
    with pytest.raises(ValueError, match=r'crop_pct=1\.2 is outside'):
        EvalTransform(64, 1.2)


def train(transform, seed=3):
    return transform(channels_first(picture(80, 120)), torch.Generator().manual_seed(seed))


def test_train__seed_decides():
    transform = TrainTransform((32, 48))
    assert train(transform).shape == (3, 32, 48)
    assert torch.equal(train(transform), train(transform))
    assert not torch.equal(train(transform), train(transform, seed=4))


def test_train__global_seed_decides_in_the_main_process():
    image, transform = channels_first(picture(80, 120)), TrainTransform(32)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(torch.stack([transform(image) for _ in range(3)]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_train__rand_augment_changes_the_crop():
    plain = [train(TrainTransform(32, rand_augment=None), seed) for seed in range(8)]
    changed = [train(TrainTransform(32), seed) for seed in range(8)]
    mild = [train(TrainTransform(32, rand_augment='rand-m1-inc1'), seed) for seed in range(8)]
    assert sum(not torch.equal(p, c) for p, c in zip(plain, changed, strict=True)) >= 6
    assert not all(torch.equal(m, c) for m, c in zip(mild, changed, strict=True))


def test_train__greatest_magnitude_fits_pillow():
    """At magnitude 10 timm's posterize asks Pillow for 0 bits, which it refuses; here it keeps one at least."""
    transform = TrainTransform(8, rand_augment='rand-m10-n4-inc1')
    posterize = [op for op in transform.policy.ops if op.name == 'PosterizeIncreasing']
    assert len(posterize) == 1
    posterize[0].prob = 1.0
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2))
    assert np.unique(np.array(posterize[0](ramp))).tolist() == [0, 128]
    assert posterize[0].magnitude == 10
    with pytest.raises(ValueError, match='bits'):
        ImageOps.posterize(ramp, 0)
    # The picture comes out in every draw.
    generator, image = torch.Generator().manual_seed(0), channels_first(picture(16, 16))
    views = torch.stack([transform(image, generator) for _ in range(60)])
    assert len(views.flatten(1).unique(dim=0)) > 50


def test_train__crop_scale_changes_the_crop():
    ramp = channels_first(np.repeat(np.linspace(0, 255, 200).astype(np.uint8)[None, :, None], 200, 0).repeat(3, 2))
    small, large = (TrainTransform(32, scale, None) for scale in ((0.08, 0.1), (0.9, 1.0)))
    assert np.ptp(small(ramp).numpy()) < 0.6 * np.ptp(large(ramp).numpy())
