"""PlainViT + DeconvPyramid + UPerHead against mmseg's MAE + Feature2Pyramid, same weights (<= 1e-5, logits 1e-4).

mmseg's MAE carries relative-position tables and layer scale that MAE weights do not have: they are set to their
neutral values, zero and one, which is what mmseg itself starts from with official weights.
"""

import pytest
import torch
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules

from backbones import PlainViT
from backbones.pyramid import DeconvPyramid
from tests.helpers import randomise, relative_error

TAPS = [1, 2, 4, 5]
BN = dict(type='BN')


def our_name(name):
    table = {
        'patch_embed.projection': 'patch_embed.proj',
        'layers.': 'blocks.',
        'ln1': 'norm1',
        'ln2': 'norm2',
        'ffn.blocks.0.0': 'mlp.fc1',
        'ffn.blocks.1': 'mlp.fc2',
    }
    for theirs, ours in table.items():
        name = name.replace(theirs, ours)
    return name


@pytest.fixture(scope='module')
def nets():
    register_all_modules(init_default_scope=True)
    sizes = dict(embed_dims=64, num_layers=6, num_heads=4)
    backbone = MODELS.build(
        dict(type='MAE', img_size=64, out_indices=TAPS, norm_cfg=dict(type='LN', eps=1e-6), init_values=1.0, **sizes)
    )
    neck = MODELS.build(dict(type='Feature2Pyramid', embed_dim=64, rescales=[4, 2, 1, 0.5], norm_cfg=BN))
    head = MODELS.build(
        dict(
            type='UPerHead',
            in_channels=[64] * 4,
            in_index=[0, 1, 2, 3],
            pool_scales=(1, 2, 3, 6),
            channels=32,
            dropout_ratio=0.1,
            num_classes=7,
            norm_cfg=BN,
            align_corners=False,
        )
    )
    for net in (backbone, neck, head):
        randomise(net)
        # mmseg's MAE.train() returns nothing, so eval() cannot be chained
        net.eval()
    for layer in backbone.layers:
        torch.nn.init.zeros_(layer.attn.relative_position_bias_table)
        torch.nn.init.ones_(layer.gamma_1)
        torch.nn.init.ones_(layer.gamma_2)

    vit = PlainViT(dict(embed_dim=64, depth=6, num_heads=4), img_size=64, out_indices=TAPS).eval()
    unused = ('gamma_', 'relative_position')
    vit.load_state_dict({our_name(k): v for k, v in backbone.state_dict().items() if not any(u in k for u in unused)})
    pyramid = DeconvPyramid(64, norm='bn').eval()
    branch = {'upsample_4x': '0', 'upsample_2x.0': '1'}
    state = {}
    for name, value in neck.state_dict().items():
        for theirs, ours in branch.items():
            name = name.replace(theirs, f'branches.{ours}')
        state[name] = value
    pyramid.load_state_dict(state)
    return (backbone, neck), (vit, pyramid), head


def test_backbone__maps_of_mmseg(nets):
    (backbone, _), (vit, _), _ = nets
    images = torch.randn(3, 3, 64, 64)
    errors = [relative_error(a, e) for a, e in zip(vit(images), backbone(images), strict=True)]
    assert max(errors) < 1e-5


def test_pyramid_and_head__logits_of_mmseg(nets):
    (backbone, neck), (vit, pyramid), head = nets
    images = torch.randn(3, 3, 64, 64)
    expected = neck(backbone(images))
    actual = pyramid(vit(images))
    assert max(relative_error(a, e) for a, e in zip(actual, expected, strict=True)) < 1e-5
    assert relative_error(head(actual), head(expected)) < 1e-4
