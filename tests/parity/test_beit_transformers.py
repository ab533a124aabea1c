"""transformers' BEiT, same weights, class token included (<= 1e-5 of the largest value).

Square images of its own size only: transformers transposes tables that are not square, and resamples linearly.
"""

import re

import pytest
import torch
from transformers import BeitConfig, BeitModel

from backbones.vit import PlainViT
from tests.helpers import randomise, relative_error

TABLE = 'relative_position_bias_table'
# Its names at the end of a block's, in version 5.
NAMES = {
    'attention.o_proj': 'attn.proj',
    'layernorm_before': 'norm1',
    'layernorm_after': 'norm2',
    'lambda_1': 'gamma_1',
    'lambda_2': 'gamma_2',
    f'relative_position_bias.{TABLE}': f'attn.{TABLE}',
}
OUTSIDE = {
    'embeddings.cls_token': 'cls_token',
    'embeddings.patch_embeddings.projection': 'patch_embed.proj',
    f'shared_position_bias.{TABLE}': f'rel_pos_bias.{TABLE}',
    'layernorm': 'norm',
}


def our_state(theirs):
    """Its state under our names; Q, K and V together."""
    state, parts = {}, theirs.state_dict()
    for name, value in parts.items():
        if '.k_proj.' in name or '.v_proj.' in name:
            continue
        name = re.sub(r'^layers\.(\d+)\.', r'blocks.\1.', name)
        for theirs_end, ours_end in (NAMES if name.startswith('blocks.') else OUTSIDE).items():
            name = name.replace(theirs_end, ours_end)
        if '.q_proj.' in name:
            key = name.replace('blocks', 'layers').replace('q_proj', '{}')
            key_part = parts.get(key.format('k_proj'), torch.zeros_like(value))
            value = torch.cat([value, key_part, parts[key.format('v_proj')]])
            name = name.replace('attention.q_proj', 'attn.qkv')
        state[name] = value
    return state


@pytest.mark.parametrize(('shared', 'rel_pos'), [(False, 'table'), (True, 'shared_table')])
def test_transformers_beit__tokens(shared, rel_pos):
    config = BeitConfig(
        image_size=48,
        patch_size=8,
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=192,
        layer_norm_eps=1e-6,
        use_mask_token=False,
        use_mean_pooling=False,
        use_relative_position_bias=not shared,
        use_shared_relative_position_bias=shared,
    )
    theirs = randomise(BeitModel(config, add_pooling_layer=False)).eval()
    for name, parameter in theirs.named_parameters():
        if 'table' in name or 'lambda' in name:
            torch.nn.init.normal_(parameter)
    ours = PlainViT(
        dict(embed_dim=48, depth=3, num_heads=4),
        img_size=48,
        patch_size=8,
        rel_pos=rel_pos,
        use_abs_pos=False,
        layer_scale=0.1,
        out_norm=True,
    ).eval()
    ours.load_state_dict(our_state(theirs))
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        expected = theirs(images).last_hidden_state
        assert relative_error(ours.encode(ours.embed(images), (6, 6)), expected) < 1e-5
