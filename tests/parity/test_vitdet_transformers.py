"""The ViTDet backbone against transformers' VitDet with randomised relative positions (<= 1e-5, 2e-6 seen)."""

import pytest
import torch
from transformers import VitDetBackbone, VitDetConfig

from backbones import PlainViT
from downstream.benches.peers import vitdet_tensors
from tests.helpers import random_functional, randomise, relative_error


def pair(img_size):
    config = VitDetConfig(
        hidden_size=48,
        num_hidden_layers=4,
        num_attention_heads=3,
        image_size=img_size,
        pretrain_image_size=48,
        patch_size=8,
        window_block_indices=[0, 2],
        residual_block_indices=[],
        window_size=3,
        use_absolute_position_embeddings=True,
        use_relative_position_embeddings=True,
        out_indices=[2, 4],
    )
    theirs = randomise(VitDetBackbone(config)).eval()
    ours = PlainViT(
        dict(embed_dim=48, depth=4, num_heads=3),
        img_size=img_size,
        pretrain_img_size=48,
        patch_size=8,
        window_size=3,
        global_blocks=(1, 3),
        rel_pos='decomposed',
        out_indices=(1, 3),
    ).eval()
    ours.load_state_dict(vitdet_tensors(theirs.state_dict()))
    return ours, theirs


@pytest.mark.parametrize(('height', 'width'), [(64, 64), (40, 88), (96, 56)])
def test_plain_vit__features_and_gradients_of_vitdet(height, width):
    ours, theirs = pair(64)
    images = torch.randn(2, 3, height, width)
    actual, expected = ours(images), theirs(images).feature_maps
    assert max(relative_error(a, e) for a, e in zip(actual, expected, strict=True)) < 1e-5
    random_functional(actual).backward()
    random_functional(tuple(expected)).backward()
    gradients = vitdet_tensors({name: p.grad for name, p in theirs.named_parameters()})
    assert max(relative_error(p.grad, gradients[n]) for n, p in ours.named_parameters()) < 1e-4
