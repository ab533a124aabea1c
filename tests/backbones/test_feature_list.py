import pytest
import timm
import torch

from backbones import PlainViT
from backbones.feature_list import FeatureList
from backbones.pyramid import DeconvPyramid
from tests.helpers import randomise

TOY = dict(embed_dim=64, depth=4, num_heads=2)
OPTIONS = dict(variant=TOY, img_size=32, patch_size=8, out_indices=(0, 1, 2, 3))


def test_feature_list__is_the_backbone_with_its_pyramid():
    model = randomise(FeatureList(**OPTIONS)).eval()
    images = torch.rand(2, 3, 32, 48)
    maps = model(images)
    vit, pyramid = PlainViT(**OPTIONS).eval(), DeconvPyramid(64).eval()
    vit.load_state_dict(model.backbone.state_dict())
    pyramid.load_state_dict(model.pyramid.state_dict())
    assert isinstance(maps, list)
    for ours, expected in zip(maps, pyramid(vit(images)), strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)


@pytest.mark.parametrize(('pyramid', 'reductions'), [(True, [2, 4, 8, 16]), (False, [8, 8, 8, 8])])
def test_feature_list__describes_its_maps(pyramid, reductions):
    model = FeatureList(pyramid=pyramid, **OPTIONS)
    maps = model(torch.rand(1, 3, 32, 64))
    assert model.out_channels == model.feature_info.channels() == [each.shape[1] for each in maps] == [64] * 4
    assert model.feature_info.reduction() == reductions
    assert [tuple(each.shape[2:]) for each in maps] == [(32 // r, 64 // r) for r in reductions]
    assert model.feature_info.module_name() == [f'blocks.{index}' for index in range(4)]


def test_feature_list__same_maps_as_timm_features_only(tmp_path):
    theirs = timm.create_model(
        'vit_tiny_patch16_224', img_size=(64, 96), features_only=True, out_indices=(2, 5, 8, 11)
    ).eval()  # fmt: skip
    randomise(theirs)
    state = theirs.model.state_dict()
    torch.save(state, tmp_path / 'timm.pth')
    model = FeatureList(
        tmp_path / 'timm.pth', pyramid=False, variant='tiny', img_size=(64, 96), pretrain_img_size=(64, 96)
    ).eval()
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        for ours, expected in zip(model(images), theirs(images), strict=True):
            assert (ours - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert model.feature_info.channels() == theirs.feature_info.channels()
    assert model.feature_info.reduction() == theirs.feature_info.reduction()


def test_feature_list__pyramid_needs_four_blocks():
    with pytest.raises(ValueError, match=r'makes 4 maps and out_indices=\(3,\) names 1 blocks'):
        FeatureList(**{**OPTIONS, 'out_indices': (3,)})
