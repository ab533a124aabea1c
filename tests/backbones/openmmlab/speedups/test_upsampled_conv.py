"""Convolution of an upsampled map, without upsampling it."""

import pytest
import torch
import torch.nn.functional as F

from backbones.openmmlab.speedups.upsampled_conv import conv_of_upsampled, shifted_upsampling

CASES = [
    ((4, 6), (8, 12)),
    ((3, 5), (24, 40)),
    ((5, 3), (11, 13)),
    ((1, 2), (4, 7)),
    ((6, 4), (6, 4)),
    ((9, 8), (5, 6)),
]


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize(('coarse', 'fine'), CASES)
def test_conv__as_upsampled_first(coarse, fine, align_corners):
    maps = torch.randn(2, 3, *coarse, dtype=torch.float64)
    weight = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    upsampled = F.interpolate(maps, fine, mode='bilinear', align_corners=align_corners)
    expected = F.conv2d(upsampled, weight, padding=1)
    result = conv_of_upsampled(maps, weight, fine, align_corners)
    # The upsampling table is float32: its entries are exact for powers of two only.
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


def test_shifts__by_hand():
    rows = torch.tensor([[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]])
    zero = torch.zeros(1, 2)
    expected = torch.stack([torch.cat([zero, rows[:3]]), rows, torch.cat([rows[1:], zero])])
    assert torch.equal(shifted_upsampling(2, 4, False), expected)
