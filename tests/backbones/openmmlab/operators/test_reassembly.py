"""PSA masks, CARAFE and multi-scale deformable attention through mmcv.ops against loops."""

import pytest
import torch
from mmcv.ops import PSAMask, carafe, carafe_naive
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

from tests.backbones.openmmlab.operators import loops

HALVES = (torch.float16, torch.bfloat16)


def assert_same_gradients(actual, expected, leaves):
    gradient = torch.randn_like(actual)
    for a, e in zip(
        torch.autograd.grad(actual, leaves, gradient), torch.autograd.grad(expected, leaves, gradient), strict=True
    ):
        torch.testing.assert_close(a, e)


@pytest.mark.parametrize('kind', ('collect', 'distribute'))
@pytest.mark.parametrize('size', ((3, 5), (9, 3), (11, 9)))
def test_psa_mask__as_the_loop(kind, size):
    # windows smaller than the map, and so large that they stick out on both sides
    window = torch.randn(2, size[0] * size[1], 5, 4, dtype=torch.float64, requires_grad=True)
    actual = PSAMask(kind, size)(window)
    expected = loops.psa_mask(window, kind, size)
    assert torch.equal(actual, expected)
    assert_same_gradients(actual, expected, (window,))


@pytest.mark.parametrize('dtype', HALVES)
def test_psa_mask__half_precision_is_exact(dtype):
    window = torch.randn(1, 9, 4, 3).to(dtype)
    actual = PSAMask('collect', (3, 3))(window)
    assert actual.dtype == dtype
    assert torch.equal(actual, loops.psa_mask(window, 'collect', (3, 3)))


@pytest.mark.parametrize(('size', 'groups', 'scale'), [(3, 1, 2), (5, 2, 1), (1, 3, 3)])
def test_carafe__as_the_loop(size, groups, scale):
    features = torch.randn(2, 6, 4, 3, dtype=torch.float64, requires_grad=True)
    masks = torch.randn(2, groups * size**2, 4 * scale, 3 * scale, dtype=torch.float64, requires_grad=True)
    actual = carafe(features, masks, size, groups, scale)
    expected = loops.carafe(features, masks, size, groups, scale)
    torch.testing.assert_close(actual, expected)
    assert_same_gradients(actual, expected, (features, masks))
    torch.testing.assert_close(carafe_naive(features, masks, size, groups, scale), expected)


def test_carafe__gradient_by_differences():
    features = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    masks = torch.randn(1, 9, 6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f, m: carafe(f, m, 3, 1, 2), (features, masks))


@pytest.mark.parametrize('dtype', HALVES)
def test_carafe__half_precision_is_rounded_only_at_the_end(dtype):
    features, masks = torch.randn(1, 2, 3, 4).to(dtype), torch.randn(1, 9, 6, 8).to(dtype)
    actual = carafe(features, masks, 3, 1, 2)
    expected = loops.carafe(features.double(), masks.double(), 3, 1, 2)
    assert actual.dtype == dtype
    torch.testing.assert_close(actual.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-5)


def attention_inputs(dtype=torch.float64):
    shapes = torch.tensor([[4, 3], [2, 5]])
    value = torch.randn(2, 22, 2, 3, dtype=dtype)
    # also beyond the border
    locations = torch.rand(2, 4, 2, 2, 3, 2, dtype=dtype) * 1.6 - 0.3
    weights = torch.rand(2, 4, 2, 2, 3, dtype=dtype)
    leaves = [t.requires_grad_() for t in (value, locations, weights)]
    return leaves, shapes, torch.tensor([0, 12])


def test_ms_deform_attn__as_the_loop():
    leaves, shapes, starts = attention_inputs()
    value, locations, weights = leaves
    actual = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)
    expected = loops.ms_deform_attn(value, shapes, locations, weights)
    torch.testing.assert_close(actual, expected)
    assert_same_gradients(actual, expected, leaves)


@pytest.mark.parametrize('dtype', HALVES)
def test_ms_deform_attn__half_precision_is_rounded_only_at_the_end(dtype):
    leaves, shapes, starts = attention_inputs()
    value, locations, weights = (t.detach().to(dtype).requires_grad_() for t in leaves)
    wide = [t.detach().double().requires_grad_() for t in (value, locations, weights)]
    actual = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)
    expected = loops.ms_deform_attn(wide[0], shapes, *wide[1:])
    assert actual.dtype == dtype
    bound = torch.finfo(dtype).eps
    torch.testing.assert_close(actual.double(), expected, rtol=bound, atol=1e-5)
    gradient = torch.randn_like(actual)
    for a, e in zip(
        torch.autograd.grad(actual, (value, locations, weights), gradient),
        torch.autograd.grad(expected, wide, gradient.double()),
        strict=True,
    ):
        torch.testing.assert_close(a.double(), e, rtol=bound, atol=1e-4)
