"""Windows over an image: where they lie, how often they see a pixel, and the mean of what they say."""

import pytest
import torch

from backbones.openmmlab.speedups.slide import Windows, slide, window_boxes, window_counts, window_starts

# image (H, W), crop, stride: stride that does not divide, H != W, crop larger on one side or both, one exact fit
CASES = [
    ((37, 53), (16, 24), (11, 13)),
    ((37, 53), (64, 24), (43, 17)),
    ((20, 30), (64, 64), (43, 43)),
    ((32, 48), (16, 16), (16, 16)),
    ((17, 16), (16, 16), (10, 10)),
]


def covered(size, crop, stride):
    """Windows of an image as sets of rows and columns, walked one step after the other."""
    windows = []
    top = 0
    while True:
        bottom = min(top + crop[0], size[0])
        left = 0
        while True:
            right = min(left + crop[1], size[1])
            windows.append((max(bottom - crop[0], 0), max(right - crop[1], 0), bottom, right))
            if right == size[1]:
                break
            left += stride[1]
        if bottom == size[0]:
            return windows
        top += stride[0]


@pytest.mark.parametrize(('size', 'crop', 'stride'), CASES)
def test_boxes__walk_over_the_image(size, crop, stride):
    assert [tuple(box) for box in window_boxes(size, Windows(crop, stride))] == covered(size, crop, stride)


def test_starts__last_window_ends_with_the_image():
    assert window_starts(2048, 512, 341) == [0, 341, 682, 1023, 1364, 1536]
    assert window_starts(1024, 512, 341) == [0, 341, 512]
    assert window_starts(300, 512, 341) == [0]


@pytest.mark.parametrize('stride', [0, -3, 17])
def test_starts__gaps(stride):
    with pytest.raises(ValueError, match=f'stride {stride} leaves gaps between windows of 16 px'):
        window_starts(40, 16, stride)
    assert window_starts(16, 16, 17) == [0]


@pytest.mark.parametrize(('size', 'crop', 'stride'), CASES)
def test_counts__of_every_pixel(size, crop, stride):
    expected = torch.zeros(size)
    for top, left, bottom, right in covered(size, crop, stride):
        for row in range(top, bottom):
            for column in range(left, right):
                expected[row, column] += 1
    windows = Windows(crop, stride)
    assert torch.equal(window_counts(size, windows, torch.device('cpu')), expected)


@pytest.mark.parametrize('window_batch', [1, 4, 100])
@pytest.mark.parametrize(('size', 'crop', 'stride'), CASES)
def test_slide__mean_of_the_windows(size, crop, stride, window_batch):
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    calls = []

    def predict(crops):
        calls.append(len(crops))
        # Depends on the place within the window, so that an overlap is not the mean of equal values.
        ramp = torch.linspace(0, 1, crops.shape[2])[:, None] + torch.linspace(0, 2, crops.shape[3]) ** 2
        return torch.stack([crops.sum(1) * ramp, crops[:, 0] - crops[:, 1], ramp.expand_as(crops[:, 0])], 1)

    result = slide(predict, images, Windows(crop, stride), window_batch)
    boxes = covered(size, crop, stride)
    assert calls == [2 * len(boxes[first : first + window_batch]) for first in range(0, len(boxes), window_batch)]
    scores = torch.full((len(boxes), *result.shape), float('nan'), dtype=torch.float64)
    for number, (top, left, bottom, right) in enumerate(boxes):
        scores[number, :, :, top:bottom, left:right] = predict(images[:, :, top:bottom, left:right])
    torch.testing.assert_close(result, scores.nanmean(0), rtol=1e-12, atol=1e-12)


def test_slide__sums_in_the_type_of_the_images():
    images = torch.ones(1, 1, 9, 9)
    result = slide(lambda crops: crops.bfloat16() / 3, images, Windows((4, 4), (1, 1)))
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, (images.bfloat16() / 3).float(), rtol=1e-6, atol=0)


def test_slide__window_batch_below_one():
    with pytest.raises(ValueError, match='window_batch 0'):
        slide(lambda crops: crops, torch.zeros(1, 1, 4, 4), Windows((2, 2), (2, 2)), 0)
