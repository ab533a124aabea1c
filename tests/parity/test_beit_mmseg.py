"""PlainViT against mmseg's BEiT, same weights, square and not (<= 1e-5 of the largest value).

mmseg's own resampling to another size calls a function that SciPy has removed; the numbers it gave are in
tests/backbones/vit/test_rel_pos_table.py. Here the resampled tables are given to mmseg's model of the other size.
"""

import pytest
import torch
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules

from backbones import PlainViT
from backbones.checkpoint.beit import convert_beit
from backbones.vit.rel_pos_table import resample_table
from tests.helpers import randomise, relative_error

TAPS = (0, 1, 3)
OUR_NAMES = {
    'patch_embed.projection': 'patch_embed.proj',
    'layers.': 'blocks.',
    'ln1': 'norm1',
    'ln2': 'norm2',
    'ffn.blocks.0.0': 'mlp.fc1',
    'ffn.blocks.1': 'mlp.fc2',
}
TABLE = 'relative_position_bias_table'


def mmseg_beit(img_size):
    register_all_modules(init_default_scope=True)
    sizes = dict(embed_dims=64, num_layers=4, num_heads=4, out_indices=TAPS, norm_cfg=dict(type='LN', eps=1e-6))
    model = MODELS.build(dict(type='BEiT', img_size=img_size, patch_size=8, init_values=0.1, **sizes))
    randomise(model)
    for name, parameter in model.named_parameters():
        if 'table' in name or 'gamma' in name:
            torch.nn.init.normal_(parameter)
    # mmseg's BEiT.train() returns nothing
    model.eval()
    return model


def plain_vit(theirs, img_size):
    state = {}
    for name, value in theirs.state_dict().items():
        for their_part, our_part in OUR_NAMES.items():
            name = name.replace(their_part, our_part)
        state[name] = value
    options = dict(rel_pos='table', use_abs_pos=False, layer_scale=0.1, out_indices=TAPS)
    ours = PlainViT(dict(embed_dim=64, depth=4, num_heads=4), img_size=img_size, patch_size=8, **options).eval()
    ours.load_state_dict(convert_beit(state)[0])
    return ours


def worst_error(ours, theirs, images):
    with torch.no_grad():
        return max(relative_error(a, e) for a, e in zip(ours(images), theirs(images), strict=True))


@pytest.mark.parametrize('size', [(64, 64), (40, 72)])
def test_mmseg_beit__maps(size):
    theirs = mmseg_beit(size)
    assert worst_error(plain_vit(theirs, size), theirs, torch.randn(3, 3, *size)) < 1e-5


def test_mmseg_beit__maps_of_another_size():
    small, size = mmseg_beit((40, 40)), (64, 96)
    ours, theirs = plain_vit(small, (40, 40)), mmseg_beit(size)
    state = {name: value for name, value in small.state_dict().items() if 'relative_position_index' not in name}
    tables = {name: resample_table(value, (5, 5), (8, 12)) for name, value in state.items() if TABLE in name}
    theirs.load_state_dict(state | tables, strict=False)
    assert worst_error(ours, theirs, torch.randn(2, 3, *size)) < 1e-5
