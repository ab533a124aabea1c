"""The door: every format in, each refusal with its report, and nothing written when refused."""

import argparse

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from backbones import PlainViT
from backbones.checkpoint.load import load_pretrained
from tests.helpers import randomise

TOY = dict(embed_dim=24, depth=2, num_heads=2)


def toy(**options):
    return PlainViT(TOY, **{'img_size': 32, 'patch_size': 8, **options})


def weights(**options):
    """Random weights of a toy under its own names, as any file of it would hold them."""
    return {name: value.clone() for name, value in randomise(toy(**options), seed=7).state_dict().items()}


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(model, expected):
    state = model.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=0, msg=name)


def refused(model, path, **options):
    """Load, expect the report in an error and the model untouched; returns the message."""
    before = snapshot(model)
    with pytest.raises(ValueError) as caught:
        load_pretrained(model, path, **options)
    assert_equal(model, before)
    return str(caught.value)


def with_decoder(state):
    decoder = {'mask_token': torch.randn(1, 1, 8), 'decoder_pos_embed': torch.randn(1, 17, 8)}
    decoder |= {'decoder_embed.weight': torch.randn(8, 24), 'decoder_blocks.0.norm1.bias': torch.randn(8)}
    return state | decoder | {'decoder_norm.weight': torch.randn(8), 'decoder_pred.bias': torch.randn(192)}


def mae_run(state):
    """What the official pretraining script writes: weights, optimizer, scaler and its arguments."""
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(2))])
    args = argparse.Namespace(model='mae_vit_base_patch16', lr=None, distributed=False)
    return {'model': state, 'optimizer': optimizer.state_dict(), 'epoch': 7, 'scaler': {'scale': 2.0}, 'args': args}


def own_pretraining(state):
    state = {f'encoder.{name}': value for name, value in state.items()}
    state |= {'decoder.mask_token': torch.randn(1, 1, 8), 'decoder.blocks.0.norm1.bias': torch.randn(8)}
    state |= {'data_preprocessor.mean': torch.randn(3, 1, 1)}
    return {'meta': {'epoch': 1, 'cfg': 'a = 1'}, 'state_dict': state, 'optimizer': {}, 'message_hub': {}}


def own_detector(state):
    state = {f'backbone.{name}': value for name, value in state.items()}
    return {'meta': {}, 'state_dict': state | {'neck.0.x4.weight': torch.randn(2), 'roi_head.fc.bias': torch.randn(2)}}


FILES = {
    'official MAE, encoder only': (lambda state: {'model': state}, 0),
    'official MAE with decoder': (lambda state: mae_run(with_decoder(state)), 6),
    'timm': (lambda state: state | {'head.weight': torch.randn(5, 24), 'head.bias': torch.randn(5)}, 2),
    'dense-mae pretraining': (own_pretraining, 3),
    'dense-mae detector or segmentor': (own_detector, 2),
}


@pytest.mark.parametrize('name', FILES)
def test_load_pretrained__every_format(tmp_path, name):
    wrap, extras = FILES[name]
    state = weights(out_norm=True)
    torch.save(wrap(state), tmp_path / 'a.pth')
    model = toy(out_norm=True)
    report = load_pretrained(model, tmp_path / 'a.pth')
    assert_equal(model, state)
    assert report.format == name
    assert sorted(report.loaded) == sorted(state)
    assert len(report.left_over) == extras
    assert not (report.resized or report.kept or report.missing or report.unexpected or report.mismatched)


def test_load_pretrained__safetensors(tmp_path):
    state = weights(out_norm=True)
    save_file(state, tmp_path / 'a.safetensors')
    model = toy(out_norm=True)
    assert load_pretrained(model, str(tmp_path / 'a.safetensors')).format == 'timm'
    assert_equal(model, state)


@pytest.mark.parametrize('wrapper', ['module.', '_orig_mod.', 'module._orig_mod.'])
def test_load_pretrained__names_of_wrapped_models(tmp_path, wrapper):
    state = weights()
    torch.save({'model': {wrapper + name: value for name, value in state.items()}}, tmp_path / 'a.pth')
    model = toy()
    load_pretrained(model, tmp_path / 'a.pth')
    assert_equal(model, state)


def test_load_pretrained__half_precision_file(tmp_path):
    state = {name: value.half() for name, value in weights().items()}
    torch.save({'model': state}, tmp_path / 'a.pth')
    model = toy()
    load_pretrained(model, tmp_path / 'a.pth')
    assert_equal(model, {name: value.float() for name, value in state.items()})


def test_load_pretrained__extras_of_each_kind_are_explained(tmp_path):
    state = with_decoder(weights(out_norm=True)) | {'head.bias': torch.ones(5), 'fc_norm.bias': torch.ones(24)}
    torch.save({'model': state}, tmp_path / 'a.pth')
    report = load_pretrained(toy(), tmp_path / 'a.pth')
    reasons = {
        'mask_token': 'mask token of pretraining',
        'decoder_pos_embed': 'MAE decoder',
        'decoder_embed.weight': 'MAE decoder',
        'decoder_blocks.0.norm1.bias': 'MAE decoder',
        'decoder_norm.weight': 'MAE decoder',
        'decoder_pred.bias': 'MAE decoder',
        'head.bias': 'classification head',
        'fc_norm.bias': "norm of a classifier's pooled features",
        'norm.weight': 'the model has no final norm (out_norm=False)',
        'norm.bias': 'the model has no final norm (out_norm=False)',
    }
    assert report.left_over == reasons


def test_load_pretrained__windowed_model_from_a_plain_file(tmp_path):
    state = weights(out_norm=True)
    torch.save({'model': state}, tmp_path / 'a.pth')
    model = toy(window_size=2, rel_pos='decomposed')
    report = load_pretrained(model, tmp_path / 'a.pth')
    assert report.left_over['cls_token'] == 'the model has no class token (windows or relative positions)'
    tables = {f'blocks.{i}.attn.rel_pos_{axis}' for i in range(2) for axis in 'hw'}
    assert set(report.kept) == tables
    assert all(not model.state_dict()[name].any() for name in tables)
    assert_equal(model, {name: state[name] for name in report.loaded})
    assert len(report.loaded) == 2 * 12 + 3


def test_load_pretrained__classifier_with_fc_norm(tmp_path):
    state = weights()
    torch.save({'model': state | {'fc_norm.weight': torch.zeros(24), 'fc_norm.bias': torch.zeros(24)}}, tmp_path / 'a')
    model = toy(out_norm=True)
    report = load_pretrained(model, tmp_path / 'a')
    # Behind the pooling fc_norm is another function: the norm of the tokens starts as a plain norm.
    assert set(report.kept) == {'norm.weight', 'norm.bias'}
    torch.testing.assert_close(model.norm.weight.data, torch.ones(24))
    assert_equal(model, state)


# What does not fit


def test_load_pretrained__nothing_matches(tmp_path):
    torch.save({'state_dict': {'conv1.weight': torch.ones(2)}, 'epoch': 3}, tmp_path / 'a.pth')
    message = refused(toy(), tmp_path / 'a.pth')
    assert 'state_dict, epoch' in message
    assert all(name in message for name in FILES)
    assert '\n' not in message


def test_load_pretrained__video_encoder(tmp_path):
    state = weights()
    state['patch_embed.proj.weight'] = torch.ones(24, 3, 2, 8, 8)
    torch.save({'model': state}, tmp_path / 'a.pth')
    assert 'no known format' in refused(toy(), tmp_path / 'a.pth')


def test_load_pretrained__partial_file(tmp_path):
    state = weights()
    del state['blocks.1.mlp.fc2.bias'], state['cls_token']
    torch.save({'model': state}, tmp_path / 'a.pth')
    message = refused(toy(), tmp_path / 'a.pth')
    assert 'missing      cls_token, blocks.1.mlp.fc2.bias' in message
    assert 'allow_missing' in message


def test_load_pretrained__partial_file_allowed(tmp_path):
    state = weights()
    del state['blocks.1.mlp.fc2.bias'], state['cls_token']
    torch.save({'model': state}, tmp_path / 'a.pth')
    model = toy()
    before = snapshot(model)
    report = load_pretrained(model, tmp_path / 'a.pth', allow_missing=['blocks.1.mlp', 'cls_token'])
    assert report.kept == dict.fromkeys(['cls_token', 'blocks.1.mlp.fc2.bias'], 'allowed by the caller')
    assert_equal(model, state | {name: before[name] for name in report.kept})


def test_load_pretrained__allow_missing_must_name_something(tmp_path):
    torch.save({'model': weights()}, tmp_path / 'a.pth')
    assert "'blocks.1.ml'" in refused(toy(), tmp_path / 'a.pth', allow_missing=['blocks.1.ml'])
    assert "'patch'" in refused(toy(), tmp_path / 'a.pth', allow_missing='patch')


def test_load_pretrained__all_allowed_yet_nothing_loaded(tmp_path):
    state = {name: value.new_zeros([1] * value.ndim) for name, value in weights().items()}
    torch.save({'model': state}, tmp_path / 'a.pth')
    everything = ['cls_token', 'pos_embed', 'patch_embed', 'blocks']
    assert 'loaded       0 tensors' in refused(toy(), tmp_path / 'a.pth', allow_missing=everything)


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (dict(in_channels=4), 'patch_embed.proj.weight: (24, 3, 8, 8) in the file, the model has (24, 4, 8, 8)'),
        (dict(in_channels=4), "channels='mean'"),
        (dict(variant=dict(TOY, embed_dim=32)), 'pos_embed: (1, 17, 24) in the file, the model has (1, 17, 32)'),
        (dict(variant=dict(TOY, depth=3)), 'missing      blocks.2.norm1.weight'),
        (dict(variant=dict(TOY, depth=1)), 'unexpected   blocks.1.norm1.weight'),
    ],
)
def test_load_pretrained__sizes_that_differ(tmp_path, options, told):
    torch.save({'model': weights()}, tmp_path / 'a.pth')
    model = PlainViT(**{'variant': TOY, 'img_size': 32, 'patch_size': 8, **options})
    message = refused(model, tmp_path / 'a.pth')
    assert told in message
    assert 'embed_dim 24, depth 2), patch_size 8, in_channels 3' in message


def test_load_pretrained__other_channels_allowed(tmp_path):
    state = weights()
    torch.save({'model': state}, tmp_path / 'a.pth')
    model = toy(in_channels=4)
    before = snapshot(model)
    report = load_pretrained(model, tmp_path / 'a.pth', allow_missing=['patch_embed.proj.weight'])
    assert list(report.kept) == ['patch_embed.proj.weight']
    assert_equal(model, state | {'patch_embed.proj.weight': before['patch_embed.proj.weight']})


def test_load_pretrained__positions_for_windows_from_a_plain_file(tmp_path):
    state = weights()
    torch.save({'model': state}, tmp_path / 'a.pth')
    model = toy(window_size=2, window_abs_pos=True)
    before = model.global_pos_embed.detach().clone()
    report = load_pretrained(model, tmp_path / 'a.pth')
    assert report.kept['global_pos_embed'] == 'pretrained without windows; the stretched positions start at zero'
    assert torch.equal(model.global_pos_embed, before)
    assert torch.equal(model.pos_embed, state['pos_embed'])


@pytest.mark.parametrize('extra', ['blocks.0.gamma_1', 'blocks.0.attn.q_bias', 'dist_token', 'reg_token'])
def test_load_pretrained__parts_without_a_place(tmp_path, extra):
    torch.save({'model': weights() | {extra: torch.ones(24)}}, tmp_path / 'a.pth')
    assert 'unexpected   ' + extra in refused(toy(), tmp_path / 'a.pth')


def test_load_pretrained__relative_positions_without_a_place(tmp_path):
    torch.save({'model': weights(window_size=2, rel_pos='decomposed')}, tmp_path / 'a.pth')
    message = refused(toy(window_size=2), tmp_path / 'a.pth')
    assert 'unexpected   blocks.*.attn.rel_pos_h (2), blocks.*.attn.rel_pos_w (2)' in message


def test_load_pretrained__relative_positions_of_some_blocks_only(tmp_path):
    state = weights(window_size=2, rel_pos='decomposed')
    del state['blocks.1.attn.rel_pos_h']
    torch.save({'model': state}, tmp_path / 'a.pth')
    assert 'missing      blocks.1.attn.rel_pos_h' in refused(
        toy(window_size=2, rel_pos='decomposed'), tmp_path / 'a.pth'
    )


def test_load_pretrained__unknown_part_beside_the_encoder(tmp_path):
    content = own_pretraining(weights())
    content['state_dict']['teacher.weight'] = torch.ones(2)
    torch.save(content, tmp_path / 'a.pth')
    assert 'unexpected   teacher.weight' in refused(toy(), tmp_path / 'a.pth')


# Resizing


def interpolated_row(table, position):
    """Row of a table at a real position, linear between rows and constant beyond the ends."""
    position = min(max(position, 0.0), len(table) - 1.0)
    low = min(int(position), len(table) - 2)
    share = position - low
    return (1 - share) * table[low] + share * table[low + 1]


def test_load_pretrained__relative_positions_resampled_linearly(tmp_path):
    state = weights(img_size=32, rel_pos='decomposed')
    torch.save({'model': state}, tmp_path / 'a.pth')
    model = toy(img_size=(48, 40), rel_pos='decomposed')
    report = load_pretrained(model, tmp_path / 'a.pth')
    assert report.resized['blocks.1.attn.rel_pos_h'] == ((7, 12), (11, 12))
    for axis, length in (('h', 11), ('w', 9)):
        name = f'blocks.1.attn.rel_pos_{axis}'
        rows = [interpolated_row(state[name], (i + 0.5) * 7 / length - 0.5) for i in range(length)]
        torch.testing.assert_close(model.state_dict()[name], torch.stack(rows), rtol=0, atol=1e-6)


def cubic_weight(distance):
    """Keys' kernel with a = -0.75, as PyTorch, OpenCV and MAE resample."""
    a, x = -0.75, abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a


def test_load_pretrained__positions_to_the_grid_of_the_model(tmp_path):
    state = weights()
    ramp = torch.arange(4.0).repeat(4).reshape(1, 16, 1).expand(1, 16, 24)
    state['pos_embed'] = torch.cat([torch.full((1, 1, 24), 9.0), ramp], dim=1)
    torch.save({'model': state}, tmp_path / 'a.pth')
    model = toy(img_size=(24, 64))
    report = load_pretrained(model, tmp_path / 'a.pth')
    assert report.resized == {'pos_embed': ((1, 17, 24), (1, 25, 24))}
    table = model.pos_embed.data
    torch.testing.assert_close(table[:, 0], torch.full((1, 24), 9.0))
    # (1, H * W, D) -> (H, W, D); x' = (x + 0.5) / 2 - 0.5
    places = table[0, 1:].reshape(3, 8, 24)
    torch.testing.assert_close(places[0], places[1])
    # The middle columns lie at x = 1.25 and 1.75 of the four old ones.
    for column, x in ((3, 1.25), (4, 1.75)):
        expected = sum(old * cubic_weight(x - old) for old in range(4))
        torch.testing.assert_close(places[0, column], torch.full((24,), expected))


def test_load_pretrained__positions_without_class_row(tmp_path):
    state = weights()
    places = state['pos_embed'][:, 1:].clone()
    torch.save({'model': state | {'pos_embed': places}}, tmp_path / 'a.pth')
    model = toy()
    report = load_pretrained(model, tmp_path / 'a.pth')
    assert report.resized == {'pos_embed': ((1, 16, 24), (1, 17, 24))}
    assert_equal(model, state | {'pos_embed': torch.cat([torch.zeros(1, 1, 24), places], dim=1)})


def test_load_pretrained__positions_of_a_grid_that_is_not_square(tmp_path):
    state = weights(img_size=(24, 56))
    torch.save({'model': state}, tmp_path / 'a.pth')
    assert 'pretrain_img_size' in refused(toy(), tmp_path / 'a.pth')
    model = toy(img_size=32, pretrain_img_size=(24, 56))
    assert not load_pretrained(model, tmp_path / 'a.pth').resized
    assert_equal(model, state)


@pytest.mark.parametrize('noise', [0.0, 0.1])
def test_load_pretrained__as_many_rows_of_another_grid(tmp_path, noise):
    # 2 x 8 and 4 x 4 patches are 16 places each; fine-tuning moves the fixed table a little.
    state = toy(img_size=(16, 64)).state_dict()
    state['pos_embed'] = state['pos_embed'] + noise * torch.randn(1, 17, 24)
    torch.save({'model': state}, tmp_path / 'a.pth')
    model = toy(img_size=32, pretrain_img_size=(16, 64))
    assert not load_pretrained(model, tmp_path / 'a.pth').resized
    assert_equal(model, state)
    square = toy(img_size=32).state_dict()
    torch.save({'model': square}, tmp_path / 'b.pth')
    assert list(load_pretrained(model, tmp_path / 'b.pth').resized) == ['pos_embed']
