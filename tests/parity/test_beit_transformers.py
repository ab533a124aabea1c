"""transformers' BEiT, same weights, class token included (<= 1e-5 of the largest value).

Square images of its own size only: transformers transposes tables that are not square, and resamples linearly.
"""

import pytest
import torch
from transformers import BeitConfig, BeitModel

from backbones import PlainViT, load_pretrained
from tests.helpers import randomise, relative_error


@pytest.mark.parametrize('names', ['saved', 'in memory'])
@pytest.mark.parametrize(('shared', 'rel_pos'), [(False, 'table'), (True, 'shared_table')])
def test_transformers_beit__tokens(tmp_path, shared, rel_pos, names):
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
    # Version 5 writes the names of version 4, and has others in memory.
    theirs.save_pretrained(tmp_path)
    report = load_pretrained(ours, tmp_path / 'model.safetensors' if names == 'saved' else theirs.state_dict())
    assert report.format == 'transformers'
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        expected = theirs(images).last_hidden_state
        assert relative_error(ours.encode(ours.embed(images), (6, 6)), expected) < 1e-5
