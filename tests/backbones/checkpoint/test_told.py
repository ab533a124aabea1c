"""What a file tells beyond its shapes: heads, activation and epsilon, or that it does not tell them."""

import argparse
import json

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import save_file

from backbones import PlainViT
from backbones.checkpoint.load import load_pretrained
from backbones.checkpoint.told import NOTHING_TOLD, told_by
from tests.backbones.checkpoint.test_dialects import moco_v3
from tests.backbones.checkpoint.test_load import TOY, refused, toy, weights
from tests.helpers import randomise

SMALL = dict(embed_dim=384, depth=1, num_heads=6)


def small(**sizes):
    return PlainViT(dict(SMALL, **sizes), img_size=32, out_norm=True)


def test_report__says_what_is_assumed():
    told = str(load_pretrained(toy(), {'model': weights()}))
    assert 'assumed      heads are not in the file: 2 assumed' in told
    assert 'assumed      the activation is not in the file: exact GELU assumed' in told
    assert "assumed      the norms' epsilon is not in the file: 1e-06 assumed" in told
    assert 'class token' not in told


def test_report__pooled_networks_without_class_token():
    state = weights(window_size=2)
    report = load_pretrained(toy(window_size=2), {'model': state})
    assert report.assumed[2] == (
        'there is no class token in the file, as in those of SigLIP, of which some have tanh-GELU'
    )


@pytest.mark.parametrize('wrap', [moco_v3, lambda state: {'arch': 'vit_small', 'state_dict': state}])
def test_load_pretrained__small_of_moco_v3_has_twelve_heads(wrap):
    state = randomise(small()).state_dict()
    message = refused(small(), wrap(state))
    assert "refused      num_heads: 12 by MoCo v3's ViT-S, the model has 6: another function" in message
    report = load_pretrained(small(num_heads=12), wrap(state))
    assert not report.assumed


@pytest.mark.parametrize(
    'args', [argparse.Namespace(arch='deit_small_patch16_224'), {'model': 'vit_small_patch16_224'}]
)
def test_load_pretrained__architecture_in_the_arguments(args):
    state = randomise(PlainViT('small', img_size=32, out_norm=True)).state_dict()
    twelve = dict(embed_dim=384, depth=12, num_heads=12)
    message = refused(PlainViT(twelve, img_size=32, out_norm=True), {'model': state, 'args': args})
    assert "num_heads: 6 by timm's " in message
    assert not load_pretrained(PlainViT('small', img_size=32, out_norm=True), {'model': state, 'args': args}).assumed


@pytest.mark.parametrize('source', ['timm/vit_so400m_patch16_siglip_gap_256.webli', 'a.pth'])
def test_told_by__activation_of_timms_model(source):
    tensors = {'patch_embed.proj.weight': torch.empty(1152, 3, 16, 16), 'blocks.26.norm1.bias': torch.empty(1152)}
    content = {} if source.startswith('timm') else {'arch': 'vit_so400m_patch16_siglip_gap_256'}
    told = told_by(content, source, 'timm', tensors)
    assert (told.heads, told.activation) == (16, 'GELUTanh')
    # Of another width or depth the name tells nothing.
    assert told_by(content, source, 'timm', {**tensors, 'blocks.27.norm1.bias': torch.empty(1152)}) == NOTHING_TOLD


@pytest.mark.parametrize(
    ('told', 'wrong'),
    [
        (dict(num_attention_heads=3), 'num_heads: 3 by config.json beside it, the model has 2'),
        (dict(hidden_act='gelu_pytorch_tanh'), 'activation: gelu_pytorch_tanh by config.json beside it'),
        (dict(hidden_act='quick_gelu'), 'activation: quick_gelu by config.json beside it'),
    ],
)
def test_load_pretrained__config_of_transformers_beside_the_file(tmp_path, told, wrong):
    config = dict(hidden_size=24, num_attention_heads=2, hidden_act='gelu', layer_norm_eps=1e-12)
    save_file(weights(), tmp_path / 'model.safetensors')
    (tmp_path / 'config.json').write_text(json.dumps(config))
    report = load_pretrained(toy(), tmp_path / 'model.safetensors')
    assert report.assumed == ["the norms' epsilon is 1e-12 by config.json beside it: 1e-06 here"]
    for content in (config | told, {'vision_config': config | told}):
        (tmp_path / 'config.json').write_text(json.dumps(content))
        assert f'refused      {wrong}' in refused(toy(), tmp_path / 'model.safetensors')


@pytest.mark.parametrize('text', ['[1]', '{"hidden_size": 25}', '{', '[' * 100_000])
def test_load_pretrained__config_beside_it_of_something_else(tmp_path, text):
    save_file(weights(), tmp_path / 'model.safetensors')
    (tmp_path / 'config.json').write_text(text)
    assert len(load_pretrained(toy(), tmp_path / 'model.safetensors').assumed) == 3


def own_run(state, part, **vit):
    config = Config(dict(model=dict(type='X', **{part: dict(type='PlainViT', **vit)}))).pretty_text
    return {'meta': {'cfg': config}, 'state_dict': {f'{part}.{name}': value for name, value in state.items()}}


@pytest.mark.parametrize('part', ['encoder', 'backbone'])
def test_load_pretrained__own_run_tells_its_heads(part):
    content = own_run(weights(), part, variant=dict(TOY, num_heads=4), img_size=32, patch_size=8)
    assert 'num_heads: 4 by the config in it, the model has 2' in refused(toy(), content)
    content = own_run(weights(), part, variant=TOY, img_size=32, patch_size=8)
    assert not load_pretrained(toy(), content).assumed


@pytest.mark.parametrize('text', ['model = dict(type=open("x"))', 'model = 3', 'model = [', '(' * 5000, 'a = 1'])
def test_load_pretrained__config_in_it_that_is_no_values(text):
    content = {'meta': {'cfg': text}, 'state_dict': {f'encoder.{k}': v for k, v in weights().items()}}
    assert len(load_pretrained(toy(), content).assumed) == 3


def test_load_pretrained__tables_tell_the_heads():
    for options in (dict(rel_pos='table'), dict(rel_pos='decomposed')):
        report = load_pretrained(toy(**options), {'model': weights(**options)})
        assert not any('heads' in line for line in report.assumed)


def test_load_pretrained__no_positions_at_all():
    # Rotary positions are no parameters: such a file would fill a model with relative positions, and be another net.
    state = {name: value for name, value in weights().items() if name not in ('pos_embed', 'cls_token')}
    message = refused(toy(rel_pos='decomposed', use_abs_pos=False), {'model': state})
    assert 'refused      positions: none in the file' in message
