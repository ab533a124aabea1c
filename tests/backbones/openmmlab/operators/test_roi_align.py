"""RoI align through mmcv.ops against loops, forward and gradient."""

import pytest
import torch
from mmcv.ops import RoIAlign, roi_align

from backbones.openmmlab.operators import roi_align_max
from tests.backbones.openmmlab.operators import loops

# image index, x1, y1, x2, y2: inside, across the border, outside on either side, thin, large
ROIS = torch.tensor(
    [
        [0, 2.3, 3.1, 17.9, 14.2],
        [1, -9.0, -7.5, 8.2, 6.4],
        [1, 20.0, 11.0, 60.0, 50.0],
        [0, 100.0, 90.0, 130.0, 120.0],
        [0, -80.0, -60.0, -50.0, -40.0],
        [1, 5.0, 6.0, 5.3, 19.0],
        [0, 0.0, 0.0, 27.0, 35.0],
    ],
    dtype=torch.float64,
)


def features(dtype=torch.float64):
    return torch.randn(2, 3, 9, 7, dtype=dtype)


@pytest.mark.parametrize('mode', ('avg', 'max'))
@pytest.mark.parametrize('aligned', (True, False))
@pytest.mark.parametrize('ratio', (0, 1, 2, 3))
@pytest.mark.parametrize('bins', ((3, 3), (2, 4)))
def test_roi_align__as_the_loop(mode, aligned, ratio, bins):
    x = features().requires_grad_()
    actual = roi_align(x, ROIS, bins, 0.25, ratio, mode, aligned)
    expected = loops.roi_align(x, ROIS, bins, 0.25, ratio, mode, aligned)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    gradient = torch.randn_like(actual)
    (actual_grad,) = torch.autograd.grad(actual, x, gradient)
    (expected_grad,) = torch.autograd.grad(expected, x, gradient)
    torch.testing.assert_close(actual_grad, expected_grad, rtol=1e-12, atol=1e-12)
    assert expected_grad.abs().max() > 0


@pytest.mark.parametrize('mode', ('avg', 'max'))
def test_roi_align__gradient_by_differences(mode):
    x = features().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: roi_align(t, ROIS, (2, 3), 0.25, 2, mode, True), x)


@pytest.mark.parametrize('mode', ('avg', 'max'))
def test_roi_align__region_without_extent(mode):
    x = features().requires_grad_()
    rois = torch.tensor([[0, 8.0, 8.0, 8.0, 8.0], [1, 4.0, 4.0, 20.0, 4.0]], dtype=torch.float64)
    for aligned in (True, False):
        actual = roi_align(x, rois, (2, 2), 0.25, 0, mode, aligned)
        torch.testing.assert_close(actual, loops.roi_align(x, rois, (2, 2), 0.25, 0, mode, aligned))
        (gradient,) = torch.autograd.grad(actual.sum(), x)
        # aligned: no samples, so nothing flows back; else regions are at least one cell large
        assert (gradient.abs().sum() == 0) == aligned


@pytest.mark.parametrize('mode', ('avg', 'max'))
def test_roi_align__no_regions(mode):
    x = features().requires_grad_()
    actual = roi_align(x, ROIS[:0], (2, 3), 0.25, 0, mode, True)
    assert actual.shape == (0, 3, 2, 3)
    (gradient,) = torch.autograd.grad(actual.sum(), x)
    assert torch.equal(gradient, torch.zeros_like(x))


@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16))
@pytest.mark.parametrize('mode', ('avg', 'max'))
def test_roi_align__half_precision_is_rounded_only_at_the_end(dtype, mode):
    x = features().to(dtype).requires_grad_()
    wide = x.detach().double().requires_grad_()
    actual = roi_align(x, ROIS.float(), (2, 3), 0.25, 0, mode, True)
    expected = loops.roi_align(wide, ROIS.float().double(), (2, 3), 0.25, 0, mode, True)
    assert actual.dtype == dtype
    bound = torch.finfo(dtype).eps
    torch.testing.assert_close(actual.double(), expected, rtol=bound, atol=1e-6)
    gradient = torch.randn_like(actual)
    (actual_grad,) = torch.autograd.grad(actual, x, gradient)
    (expected_grad,) = torch.autograd.grad(expected, wide, gradient.double())
    torch.testing.assert_close(actual_grad.double(), expected_grad, rtol=bound, atol=1e-5)


def test_roi_align__nearer_to_the_truth_than_mmcvs_half_precision():
    """Compiled mmcv rounds coordinates and sums to fp16 on the way: its result is off by many units in the last place.

    Ours differs from it, and on purpose: it is the exact value, rounded once.
    """
    x = torch.randn(1, 4, 60, 90).half()
    rois = torch.tensor([[0, 803.0, 404.0, 1390.0, 930.0], [0, 1101.0, 302.0, 1290.0, 799.0]])
    expected = loops.roi_align(x.double(), rois.half().double(), (4, 3), 1 / 16, 0, 'avg', True)
    actual = roi_align(x, rois.half(), (4, 3), 1 / 16, 0, 'avg', True)
    compiled = loops.roi_align_in_half(x, rois, (4, 3), 1 / 16)
    ours, theirs = ((value.double() - expected).abs().max().item() for value in (actual, compiled))
    # Values are near 1, where fp16 steps are 2^-10.
    assert ours <= expected.abs().max().item() * 2**-11
    assert 10 * ours < theirs < 0.1


def test_roi_align__max_with_many_samples_in_half_precision():
    # the winner's place is kept in the dtype of the features; counted in samples it survives bf16
    x = torch.randn(1, 2, 90, 80).bfloat16().requires_grad_()
    rois = torch.tensor([[0, 0.0, 0.0, 80.0, 90.0]])
    actual = roi_align(x, rois, (1, 1), 1.0, 0, 'max', True)
    (gradient,) = torch.autograd.grad(actual.sum(), x)
    assert torch.equal(actual.flatten(), x.amax((0, 2, 3)))
    for channel in range(2):
        assert (gradient[0, channel] * x[0, channel]).sum() == x[0, channel].max()


def test_roi_align__max_in_chunks(monkeypatch):
    x = features()
    whole = roi_align(x, ROIS, (2, 3), 0.25, 2, 'max', True)
    monkeypatch.setattr(roi_align_max, 'CHUNK', 1)
    assert torch.equal(roi_align(x, ROIS, (2, 3), 0.25, 2, 'max', True), whole)


def test_roi_align__under_autocast_and_as_a_layer():
    x = features(torch.float32)
    layer = RoIAlign(output_size=2, spatial_scale=0.25, sampling_ratio=2)
    expected = loops.roi_align(x.double(), ROIS, (2, 2), 0.25, 2, 'avg', True).float()
    with torch.autocast('cpu', torch.bfloat16):
        actual = layer(x, ROIS.float())
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
