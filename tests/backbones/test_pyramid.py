import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_norm_layer
from mmengine.registry import MODELS

from backbones.pyramid import DeconvPyramid, LayerNorm2d, SimpleFeaturePyramid
from tests.helpers import randomise


def deconv(maps, layer):
    """2x2 stride-2 deconvolution by loop: each input pixel paints its own 2x2 cell."""
    batch, _, height, width = maps.shape
    out = layer.bias.reshape(1, -1, 1, 1).repeat(batch, 1, 2 * height, 2 * width)
    for y in range(height):
        for x in range(width):
            cell = torch.einsum('bc,coij->boij', maps[:, :, y, x], layer.weight)
            out[:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] += cell
    return out


def test_deconv_pyramid__each_branch_by_loop():
    pyramid = randomise(DeconvPyramid(64, norm='gn')).eval()
    maps = [torch.randn(2, 64, 3, 4) for _ in range(4)]
    outputs = pyramid(maps)
    first, norm, _, second = pyramid.branches[0]
    middle = F.gelu(F.group_norm(deconv(maps[0], first), 32, norm.weight, norm.bias))
    torch.testing.assert_close(outputs[0], deconv(middle, second), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(outputs[1], deconv(maps[1], pyramid.branches[1]), atol=1e-5, rtol=1e-5)
    assert outputs[2] is maps[2]
    expected = maps[3][:, :, :2, :4].reshape(2, 64, 1, 2, 2, 2).amax((3, 5))
    torch.testing.assert_close(outputs[3], expected)


def test_deconv_pyramid__order_given_is_kept():
    outputs = DeconvPyramid(32, scales=(0.5, 1, 4))([torch.randn(1, 32, 4, 6)] * 3)
    assert [tuple(o.shape[2:]) for o in outputs] == [(2, 3), (4, 6), (16, 24)]


def test_deconv_pyramid__one_map_serves_every_scale():
    pyramid, maps = DeconvPyramid(32), torch.randn(1, 32, 4, 6)
    for shared, separate in zip(pyramid(maps), pyramid([maps] * 4), strict=True):
        torch.testing.assert_close(shared, separate)


@pytest.mark.parametrize(('norm', 'kind'), [('bn', 'BatchNorm2d'), ('syncbn', 'SyncBatchNorm'), ('ln', 'LayerNorm2d')])
def test_deconv_pyramid__norm(norm, kind):
    assert type(DeconvPyramid(32, norm=norm).branches[0][1]).__name__ == kind


def test_deconv_pyramid__mistakes_are_named():
    with pytest.raises(ValueError, match='scale 3 is unknown: use 4, 2, 1'):
        DeconvPyramid(32, scales=(3,))
    with pytest.raises(ValueError, match="norm='in' is unknown"):
        DeconvPyramid(32, norm='in')
    with pytest.raises(ValueError, match='with 4 scales takes 1 or as many maps, got 3'):
        DeconvPyramid(32)([torch.randn(1, 32, 2, 2)] * 3)


def test_simple_feature_pyramid__p3_by_loop():
    pyramid = randomise(SimpleFeaturePyramid(16, out_channels=8)).eval()
    maps = torch.randn(2, 16, 3, 4)
    up, one, norm1, three, norm2 = pyramid.levels[1]

    def layer_norm(x, norm):
        mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
        scaled = (x - mean) / (var + 1e-6).sqrt()
        return scaled * norm.weight.reshape(1, -1, 1, 1) + norm.bias.reshape(1, -1, 1, 1)

    expected = layer_norm(F.conv2d(deconv(maps, up), one.weight), norm1)
    expected = layer_norm(F.conv2d(expected, three.weight, padding=1), norm2)
    torch.testing.assert_close(pyramid(maps)[1], expected, atol=1e-5, rtol=1e-5)


def test_simple_feature_pyramid__last_map_five_strides():
    pyramid = randomise(SimpleFeaturePyramid(16, out_channels=8)).eval()
    maps = [torch.randn(1, 16, 8, 4) for _ in range(2)]
    outputs = pyramid(maps)
    assert [tuple(o.shape[1:]) for o in outputs] == [(8, 32, 16), (8, 16, 8), (8, 8, 4), (8, 4, 2), (8, 2, 1)]
    torch.testing.assert_close(outputs[4], outputs[3][:, :, ::2, ::2])
    torch.testing.assert_close(outputs[2], pyramid(maps[1])[2])


def test_layer_norm_2d__registered_with_vitdets_eps():
    assert MODELS.get('LN2d') is LayerNorm2d
    # As configs have it: by mmcv, which hands its own default to norms.
    for cfg, eps in ((dict(type='LN2d'), 1e-6), (dict(type='LN2d', eps=1e-3), 1e-3)):
        assert build_norm_layer(cfg, 4)[1].eps == eps
        assert ConvModule(4, 4, 1, norm_cfg=cfg).norm.eps == eps
    assert LayerNorm2d(4).eps == 1e-6
