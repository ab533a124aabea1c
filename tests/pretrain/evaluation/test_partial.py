"""Which parameters of a ViT a partial fine-tuning trains, and what it costs."""

import pytest
import torch

from backbones import PlainViT
from pretrain.evaluation.features import pooled_features
from pretrain.evaluation.partial import freeze_all_but

SIZES = dict(embed_dim=24, depth=3, num_heads=3)
MLP = {f'{layer}.{kind}' for layer in ('norm2', 'mlp.fc1', 'mlp.fc2') for kind in ('weight', 'bias')}


def trained(tuned_blocks, **options):
    vit = PlainViT(SIZES, img_size=16, patch_size=8, **options)
    freeze_all_but(vit, tuned_blocks)
    return {name for name, parameter in vit.named_parameters() if parameter.requires_grad}


def names_of_block(index):
    vit = PlainViT(SIZES, img_size=16, patch_size=8)
    return {name for name, _ in vit.named_parameters() if name.startswith(f'blocks.{index}.')}


def test_freeze__what_is_trained():
    assert trained(0) == set()
    assert trained(0.5) == {f'blocks.2.{name}' for name in MLP}
    assert trained(1) == names_of_block(2)
    assert trained(1.5) == names_of_block(2) | {f'blocks.1.{name}' for name in MLP}
    assert trained(3) == names_of_block(0) | names_of_block(1) | names_of_block(2)


def test_freeze__norm_and_layer_scale_behind_what_is_frozen():
    assert trained(0, out_norm=True) == {'norm.weight', 'norm.bias'}
    assert trained(0.5, layer_scale=0.1) == {f'blocks.2.{name}' for name in (*MLP, 'gamma_2')}


@pytest.mark.parametrize(('tuned', 'kept'), [(0, 0), (0.5, 1), (1, 1), (2, 2), (3, 3)])
def test_freeze__frozen_blocks_keep_no_graph(tuned, kept):
    vit = PlainViT(SIZES, img_size=16, patch_size=8)
    freeze_all_but(vit, tuned)
    tracked = []
    for block in vit.blocks:
        block.register_forward_hook(lambda module, inputs, output: tracked.append(output.requires_grad))
    pooled_features(vit, torch.randn(2, 3, 16, 16))
    assert tracked == [False] * (3 - kept) + [True] * kept


@pytest.mark.parametrize('wrong', [0.3, -1, 3.5])
def test_freeze__mistakes(wrong):
    with pytest.raises(ValueError, match=rf'tuned_blocks={wrong} has to be a multiple of 0.5 in 0\.\.3'):
        trained(wrong)
