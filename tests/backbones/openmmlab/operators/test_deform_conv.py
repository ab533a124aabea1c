"""Deformable convolutions through mmcv.ops against loops, forward and gradient."""

import pytest
import torch
from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack, deform_conv2d, modulated_deform_conv2d

from tests.backbones.openmmlab.operators import loops

# stride, padding, dilation, groups, offset groups
GEOMETRIES = [
    ((1, 1), (1, 1), (1, 1), 1, 1),
    ((2, 1), (0, 2), (1, 2), 2, 1),
    ((1, 2), (2, 1), (2, 1), 1, 2),
    ((2, 2), (1, 0), (1, 1), 2, 4),
]


def tensors(geometry, dtype=torch.float64):
    """images, offset, mask, weight, bias for a kernel of 3 x 2."""
    stride, padding, dilation, groups, offset_groups = geometry
    size = [
        (s + 2 * p - d * (k - 1) - 1) // t + 1
        for s, p, d, k, t in zip((7, 6), padding, dilation, (3, 2), stride, strict=True)
    ]
    shapes = [(2, 4, 7, 6), (2, offset_groups * 12, *size), (2, offset_groups * 6, *size), (6, 4 // groups, 3, 2), (6,)]
    return [torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize('geometry', GEOMETRIES)
def test_deform_conv2d__as_the_loop(geometry):
    images, offset, _, weight, _ = leaves = tensors(geometry)
    actual = deform_conv2d(images, offset, weight, *geometry)
    expected = loops.deform_conv(images, offset, None, weight, None, *geometry)
    torch.testing.assert_close(actual, expected)
    gradient = torch.randn_like(actual)
    wanted = (leaves[0], leaves[1], leaves[3])
    for a, e in zip(
        torch.autograd.grad(actual, wanted, gradient), torch.autograd.grad(expected, wanted, gradient), strict=True
    ):
        torch.testing.assert_close(a, e)


@pytest.mark.parametrize('geometry', GEOMETRIES)
@pytest.mark.parametrize('with_bias', (True, False))
def test_modulated_deform_conv2d__as_the_loop(geometry, with_bias):
    images, offset, mask, weight, bias = leaves = tensors(geometry)
    bias = bias if with_bias else None
    actual = modulated_deform_conv2d(images, offset, mask, weight, bias, *geometry)
    expected = loops.deform_conv(images, offset, mask, weight, bias, *geometry)
    torch.testing.assert_close(actual, expected)
    gradient = torch.randn_like(actual)
    wanted = leaves if with_bias else leaves[:4]
    for a, e in zip(
        torch.autograd.grad(actual, wanted, gradient), torch.autograd.grad(expected, wanted, gradient), strict=True
    ):
        torch.testing.assert_close(a, e)


def test_deform_conv2d__gradient_by_differences():
    images, offset, _, weight, _ = tensors(GEOMETRIES[1])
    assert torch.autograd.gradcheck(lambda *t: deform_conv2d(*t, *GEOMETRIES[1]), (images, offset, weight))


@pytest.mark.parametrize('modulated', (False, True))
def test_deform_conv2d__zero_offsets_are_a_convolution_and_pull_nothing_from_outside(modulated):
    images, offset, mask, weight, _ = tensors(GEOMETRIES[0])
    offset, mask = torch.zeros_like(offset).requires_grad_(), torch.ones_like(mask)
    if modulated:
        actual = modulated_deform_conv2d(images, offset, mask, weight, None, *GEOMETRIES[0])
    else:
        actual = deform_conv2d(images, offset, weight, *GEOMETRIES[0])
    torch.testing.assert_close(actual, torch.nn.functional.conv2d(images, weight, padding=1))
    (gradient,) = torch.autograd.grad(actual.sum(), offset)
    # (B, kernel row, kernel column, y or x, H, W)
    gradient = gradient.unflatten(1, (3, 2, 2))
    # where the sample lies in the padded border: compiled mmcv's derivative is zero there
    assert gradient[:, 0, :, :, 0].abs().max() == 0
    assert gradient[:, :, 0, :, :, 0].abs().max() == 0
    assert gradient[:, 1, 1, :, 1:-1, 1:-1].abs().min() > 0


@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16))
def test_deform_conv2d__half_precision_is_rounded_only_at_the_end(dtype):
    images, offset, mask, weight, bias = (t.detach().to(dtype).requires_grad_() for t in tensors(GEOMETRIES[0]))
    # clear of whole cells, where the derivative jumps
    offset = ((4 * torch.rand(offset.shape)).floor() - 1.625).to(dtype).requires_grad_()
    leaves = (images, offset, mask, weight, bias)
    wide = [t.detach().double().requires_grad_() for t in leaves]
    actual = modulated_deform_conv2d(*leaves, *GEOMETRIES[0])
    expected = loops.deform_conv(*wide, *GEOMETRIES[0])
    assert actual.dtype == dtype
    bound = torch.finfo(dtype).eps
    torch.testing.assert_close(actual.double(), expected, rtol=bound, atol=1e-5)
    gradient = torch.randn_like(actual)
    for a, e in zip(
        torch.autograd.grad(actual, leaves, gradient),
        torch.autograd.grad(expected, wide, gradient.double()),
        strict=True,
    ):
        torch.testing.assert_close(a.double(), e, rtol=bound, atol=1e-4)


def test_deform_conv2d__weight_gradients_add_up_over_im2col_steps():
    images, offset, _, weight, _ = tensors(GEOMETRIES[0])
    whole = deform_conv2d(images, offset, weight, *GEOMETRIES[0])
    stepped = deform_conv2d(images, offset, weight, *GEOMETRIES[0], False, 1)
    assert torch.equal(whole, stepped)


@pytest.mark.parametrize('layer', (DeformConv2dPack, ModulatedDeformConv2dPack))
def test_deform_conv_layers__train(layer):
    module = layer(4, 6, 3, padding=1)
    x = torch.randn(2, 4, 8, 5, requires_grad=True)
    module(x).square().mean().backward()
    assert x.grad.abs().max() > 0
    assert all(p.grad is not None for p in module.parameters())
