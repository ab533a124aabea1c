"""mmcv.ops.bbox_overlaps against loops."""

import pytest
import torch
from mmcv.ops import bbox_overlaps


def overlap(a, b, mode, offset):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    first, second = ((v[2] - v[0] + offset) * (v[3] - v[1] + offset) for v in (a, b))
    return width * height / (first + second - width * height if mode == 'iou' else first)


def boxes(count):
    low = torch.rand(count, 2, dtype=torch.float64) * 20
    return torch.cat([low, low + 1 + torch.rand(count, 2, dtype=torch.float64) * 20], 1)


@pytest.mark.parametrize('mode', ('iou', 'iof'))
@pytest.mark.parametrize('offset', (0, 1))
def test_bbox_overlaps__all_pairs_and_aligned(mode, offset):
    first, second = boxes(5), boxes(7)
    expected = [[overlap(a, b, mode, offset) for b in second.tolist()] for a in first.tolist()]
    torch.testing.assert_close(bbox_overlaps(first, second, mode, offset=offset), torch.tensor(expected).double())
    aligned = bbox_overlaps(first, second[:5], mode, aligned=True, offset=offset)
    torch.testing.assert_close(aligned, torch.tensor(expected).double().diagonal()[:5])


@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16))
def test_bbox_overlaps__half_precision_is_rounded_only_at_the_end(dtype):
    # areas up to 40 x 40 times 2000: beyond the range of fp16
    first, second = (boxes(4) * 40).to(dtype), (boxes(6) * 40).to(dtype)
    result = bbox_overlaps(first, second)
    expected = torch.tensor([[overlap(a, b, 'iou', 0) for b in second.tolist()] for a in first.tolist()])
    assert result.dtype == dtype
    torch.testing.assert_close(result, expected.to(dtype), rtol=0, atol=torch.finfo(dtype).eps)


def test_bbox_overlaps__empty():
    assert bbox_overlaps(torch.zeros(0, 4), torch.ones(3, 4)).shape == (0, 3)
