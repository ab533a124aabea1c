"""PlainViT against timm: same weights, same features (<= 1e-5 of the largest value; 3e-6 seen)."""

import pytest
import timm
import torch

from backbones.vit import PlainViT
from tests.helpers import random_functional, randomise, relative_error

TAPS = (2, 5, 8, 11)


def pair(img_size):
    theirs = timm.create_model('vit_tiny_patch16_224', img_size=img_size, num_classes=0, global_pool='token')
    randomise(theirs).eval()
    ours = PlainViT('tiny', img_size=img_size, out_indices=TAPS, out_norm=True).eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def features(theirs, images):
    return theirs.forward_intermediates(images, indices=list(TAPS), norm=True, intermediates_only=True)


@pytest.mark.parametrize('img_size', [(96, 96), (64, 112)])
def test_plain_vit__features_and_gradients_of_timm(img_size):
    ours, theirs = pair(img_size)
    images = torch.randn(2, 3, *img_size)
    actual, expected = ours(images), features(theirs, images)
    assert max(relative_error(a, e) for a, e in zip(actual, expected, strict=True)) < 1e-5
    random_functional(actual).backward()
    random_functional(tuple(expected)).backward()
    gradients = dict(theirs.named_parameters())
    assert max(relative_error(p.grad, gradients[n].grad) for n, p in ours.named_parameters()) < 1e-4


def test_plain_vit__other_size_resampled_as_timm_without_antialias():
    ours, theirs = pair((96, 96))
    images = torch.randn(2, 3, 64, 112)
    positions = timm.layers.resample_abs_pos_embed(
        theirs.pos_embed.detach(), (4, 7), (6, 6), num_prefix_tokens=1, antialias=False
    )
    theirs.set_input_size((64, 112))
    theirs.pos_embed = torch.nn.Parameter(positions)
    assert relative_error(ours(images)[-1], features(theirs, images)[-1]) < 1e-5
