"""Pooled features against the tokens themselves."""

import pytest
import torch

from backbones import PlainViT
from pretrain.evaluation.features import pooled_features
from tests.helpers import randomise

SIZES = dict(embed_dim=24, depth=2, num_heads=3)


def vit(**options):
    return randomise(PlainViT(SIZES, img_size=(24, 16), patch_size=8, **options)).eval()


@torch.no_grad()
@pytest.mark.parametrize('rel_pos', [None, 'table', 'shared_table', 'decomposed'])
def test_pooled_features__mean_of_the_patch_tokens(rel_pos):
    model = vit(rel_pos=rel_pos)
    images = torch.randn(5, 3, 32, 16)
    # (B, D, H, W)
    maps = model(images)[0]
    for features, places in zip(pooled_features(model, images), maps, strict=True):
        expected = sum(places[:, y, x] for y in range(4) for x in range(2)) / 8
        torch.testing.assert_close(features, expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_pooled_features__class_token_comes_first():
    model = vit(out_norm=True)
    images = torch.randn(5, 3, 24, 16)
    tokens = model.encode(model.embed(images))
    assert torch.equal(pooled_features(model, images, 'class'), tokens[:, 0])
    assert not torch.allclose(pooled_features(model, images, 'class'), pooled_features(model, images, 'mean'))


def test_pooled_features__mistakes():
    images = torch.randn(1, 3, 24, 16)
    with pytest.raises(ValueError, match="pool='max' is unknown: use one of mean, class"):
        pooled_features(vit(), images, 'max')
    with pytest.raises(ValueError, match="pool='class' needs a class token"):
        pooled_features(vit(rel_pos='decomposed'), images, 'class')
