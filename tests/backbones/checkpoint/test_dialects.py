"""Formats that differ in what is around the encoder: each project's names written out."""

import argparse
import pickle

import pytest
import torch

from backbones.checkpoint.dialects import TRANSFORMERS_V5, to_ours, to_theirs
from backbones.checkpoint.load import load_pretrained
from tests.backbones.checkpoint.test_load import assert_equal, refused, toy, weights
from tests.helpers import randomise


def head():
    return {'head.weight': torch.ones(5, 24), 'head.bias': torch.ones(5)}


def moco_v3(state):
    """A run of MoCo v3 under DistributedDataParallel; its heads are MLPs."""
    mlp = {'head.0.weight': torch.ones(8, 24), 'head.1.running_mean': torch.ones(8)}
    both = {f'{part}.{k}': v for part in ('base_encoder', 'momentum_encoder') for k, v in (state | mlp).items()}
    both['predictor.0.weight'] = torch.ones(8, 8)
    return {'epoch': 300, 'arch': 'vit_base', 'state_dict': {f'module.{k}': v for k, v in both.items()}}


def dino(state):
    mlp = {'head.mlp.0.weight': torch.ones(8, 24), 'head.last_layer.weight_g': torch.ones(9, 1)}
    teacher = {f'backbone.{k}': v for k, v in state.items()} | mlp
    student = {f'module.{k}': torch.zeros_like(v) for k, v in teacher.items()}
    return {'student': student, 'teacher': teacher, 'epoch': 1, 'args': argparse.Namespace(arch='vit_base')}


def dino_student(state):
    student = {f'module.backbone.{k}': v for k, v in state.items()}
    return {'student': student | {'module.head.mlp.0.weight': torch.ones(8, 24)}}


def deit_distilled(state):
    table = state['pos_embed']
    table = torch.cat([table[:, :1], torch.full((1, 1, 24), 5.0), table[:, 1:]], dim=1)
    extras = {'dist_token': torch.ones(1, 1, 24), 'head_dist.bias': torch.ones(5)}
    return {'model': state | head() | extras | {'pos_embed': table}}


def fsdp(state):
    inner = '_fsdp_wrapped_module.'
    names = {k: inner + k.replace('attn.', f'{inner}attn._checkpoint_wrapped_module.') for k in state}
    return {'model': {names[k]: v for k, v in state.items()}}


FILES = {
    'MoCo v3': ('MoCo v3', moco_v3, 2 + 32 + 1),
    'DINO': ('DINO, teacher', dino, 3),
    'DINO student': ('DINO, student', dino_student, 1),
    'DeiT': ('official MAE, encoder only', lambda state: {'model': state | head()}, 2),
    'DeiT, distilled': ('DeiT, distilled', deit_distilled, 4),
    'fine-tuned MAE': ('official MAE, encoder only', lambda state: {'model': state | head(), 'epoch': 99}, 2),
    'linear probe of MoCo v3': (
        'training run with MAE names',
        lambda state: {'state_dict': {f'module.{k}': v for k, v in (state | head()).items()}},
        2,
    ),
    'FSDP and checkpointing': ('official MAE, encoder only', fsdp, 0),
}


@pytest.mark.parametrize('name', FILES)
@pytest.mark.parametrize('as_dict', [False, True])
def test_load_pretrained__names_of_each_project(tmp_path, name, as_dict):
    format_name, wrap, extras = FILES[name]
    state = weights(out_norm=True)
    content = wrap(state)
    torch.save(content, tmp_path / 'a.pth')
    model = toy(out_norm=True)
    report = load_pretrained(model, content if as_dict else tmp_path / 'a.pth')
    assert_equal(model, state)
    assert (report.format, len(report.loaded), len(report.left_over)) == (format_name, 30, extras)
    assert report.source == (f'dict of {len(content)} entries' if as_dict else str(tmp_path / 'a.pth'))
    changed = {'pos_embed': ((1, 18, 24), (1, 17, 24))} if name == 'DeiT, distilled' else {}
    assert report.resized == changed


def test_load_pretrained__two_names_for_one_parameter_are_refused():
    state = weights()
    doubled = state | {'_orig_mod.' + name: value + 1 for name, value in state.items()}
    message = refused(toy(), {'model': doubled})
    assert "names one parameter twice, by 'cls_token' and '_orig_mod.cls_token', with different values" in message


def test_load_pretrained__one_tensor_under_two_names():
    state = weights()
    model = toy()
    report = load_pretrained(model, {'model': state | {'_orig_mod.cls_token': state['cls_token'].clone()}})
    assert_equal(model, state)
    assert report.left_over == {'_orig_mod.cls_token': 'stored twice, as cls_token too'}


@pytest.mark.parametrize('protocol', [2, 4, 5])
def test_load_pretrained__detectron2_file_of_arrays(tmp_path, protocol):
    options = dict(window_size=3, global_blocks=(1,), rel_pos='decomposed', pretrain_img_size=32)
    state = weights(**options)
    arrays = {f'backbone.net.{name}': value.numpy() for name, value in state.items()}
    arrays |= dict.fromkeys(['backbone.simfp_2.0.weight', 'roi_heads.box_head.fc1.bias'], torch.ones(2).numpy())
    content = {'model': arrays, '__author__': 'ViTDet', 'matching_heuristics': True}
    (tmp_path / 'model_final.pkl').write_bytes(pickle.dumps(content, protocol=protocol))
    model = toy(**options)
    report = load_pretrained(model, tmp_path / 'model_final.pkl')
    assert_equal(model, state)
    assert (report.format, len(report.left_over), report.resized) == ('detectron2 ViTDet', 2, {})


def test_load_pretrained__joined_query_key_value_of_half_a_file():
    state = to_theirs(weights(), TRANSFORMERS_V5)
    del state['layers.1.attention.k_proj.bias']
    message = refused(toy(), state)
    assert 'layers.1.attention.q_proj.bias, layers.1.attention.v_proj.bias' in message
    assert 'missing      blocks.1.attn.qkv.bias' in message


def test_to_ours__order_of_query_key_value():
    state = {f'layers.3.attention.{part}_proj.bias': torch.full((2,), i) for i, part in enumerate('vkq')}
    tensors, doubles, clashes = to_ours(state, TRANSFORMERS_V5)
    assert {name: value.tolist() for name, value in tensors.items()} == {'blocks.3.attn.qkv.bias': [2, 2, 1, 1, 0, 0]}
    assert (doubles, clashes) == ({}, [])


@pytest.mark.parametrize(
    ('extra', 'told'),
    [
        ('norm_pre.weight', 'norm in front of the blocks'),
        ('reg_token', 'register tokens'),
    ],
)
def test_load_pretrained__other_networks_are_told_apart(extra, told):
    message = refused(toy(), weights() | {extra: torch.ones(24)})
    assert f'unexpected   {extra}' in message
    assert told in message


# Patch size and channels


@pytest.mark.parametrize('patch_size', [14, 16, 8])
def test_load_pretrained__patch_kernel_as_timm_resizes_it(patch_size):
    from timm.layers import resample_patch_embed

    state = weights(patch_size=16, img_size=64)
    model = toy(patch_size=patch_size, img_size=64)
    report = load_pretrained(model, {'model': state})
    kernel = state['patch_embed.proj.weight']
    shapes = ((24, 3, 16, 16), (24, 3, patch_size, patch_size))
    assert report.resized.get('patch_embed.proj.weight') == (None if patch_size == 16 else shapes)
    expected = resample_patch_embed(kernel, [patch_size, patch_size])
    torch.testing.assert_close(model.patch_embed.proj.weight.data, expected, rtol=1e-4, atol=1e-5)


def test_load_pretrained__larger_patches_give_the_same_tokens():
    state = weights(patch_size=8, img_size=32)
    small, large = toy(patch_size=8, img_size=32), toy(patch_size=14, img_size=56)
    for model in (small, large):
        load_pretrained(model, {'model': state})
    patch = torch.randn(1, 3, 8, 8)
    enlarged = torch.nn.functional.interpolate(patch, (14, 14), mode='bicubic', antialias=True)
    torch.testing.assert_close(large.patch_embed(enlarged), small.patch_embed(patch), rtol=0, atol=1e-4)


def test_load_pretrained__mean_of_the_channels_keeps_the_response():
    state = weights()
    model, source = toy(in_channels=5), toy()
    load_pretrained(source, {'model': state})
    report = load_pretrained(model, {'model': state}, channels='mean')
    assert report.resized == {'patch_embed.proj.weight': ((24, 3, 8, 8), (24, 5, 8, 8))}
    grey = torch.randn(2, 1, 16, 24)
    actual = model.patch_embed(grey.expand(-1, 5, -1, -1))
    torch.testing.assert_close(actual, source.patch_embed(grey.expand(-1, 3, -1, -1)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ('channels', 'taken'), [('copy', (0, 1, 2, 0, 1)), ((2, 1, 0, None, 1), (2, 1, 0, None, 1)), ([0] * 5, (0,) * 5)]
)
def test_load_pretrained__channels_copied(channels, taken):
    state = weights()
    model = toy(in_channels=5)
    load_pretrained(model, {'model': state}, channels=channels)
    for i, band in enumerate(taken):
        kernel = state['patch_embed.proj.weight'][:, band] if band is not None else torch.zeros(24, 8, 8)
        torch.testing.assert_close(model.patch_embed.proj.weight[:, i].data, kernel, rtol=0, atol=0)


def test_load_pretrained__named_channels_of_as_many(tmp_path):
    state = weights()
    torch.save({'model': state}, tmp_path / 'a.pth')
    init = dict(type='PretrainedViT', checkpoint=str(tmp_path / 'a.pth'), channels=(2, 1, 0))
    model = toy(init_cfg=init)
    randomise(model)
    model.init_weights()
    kernel = state['patch_embed.proj.weight'].flip(1)
    torch.testing.assert_close(model.patch_embed.proj.weight.data, kernel, rtol=0, atol=0)


@pytest.mark.parametrize('channels', ['sum', (0, 1), (0, 1, 2, 3, 0), (0, 1, 2, -1, 0)])
def test_load_pretrained__channels_that_say_nothing(channels):
    assert f'channels={channels!r} does not say' in refused(toy(in_channels=5), {'model': weights()}, channels=channels)
