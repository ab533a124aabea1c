import argparse
import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from backbones import PlainViT, load_pretrained
from downstream.cli.convert import main
from tests.backbones.checkpoint.test_read import Attack
from tests.helpers import randomise

TOY = dict(embed_dim=24, depth=2, num_heads=2)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def state(**options):
    return randomise(PlainViT(TOY, img_size=32, patch_size=8, **options)).state_dict()


@pytest.fixture
def own_run(tmp_path):
    """Pretraining checkpoint as mmengine writes it, and the encoder in it."""
    encoder = state(out_norm=True)
    content = {f'encoder.{name}': value for name, value in encoder.items()} | {
        'decoder.mask_token': torch.ones(1, 1, 8)
    }
    torch.save({'state_dict': content, 'meta': {'epoch': 3}}, tmp_path / 'epoch_3.pth')
    return tmp_path / 'epoch_3.pth', encoder


def test_convert__to_the_official_layout(own_run, tmp_path, capsys):
    source, encoder = own_run
    assert run(source, tmp_path / 'encoder.pth') == 0
    written = torch.load(tmp_path / 'encoder.pth', weights_only=True)
    assert list(written) == ['model']
    torch.testing.assert_close(written['model'], dict(encoder), rtol=0, atol=0)
    assert '30 tensors written' in capsys.readouterr().out
    report = load_pretrained(PlainViT(TOY, img_size=32, patch_size=8, out_norm=True), tmp_path / 'encoder.pth')
    assert (report.format, len(report.loaded), report.left_over) == ('official MAE, encoder only', 30, {})


def test_convert__to_safetensors_and_back(own_run, tmp_path):
    source, encoder = own_run
    assert run(source, tmp_path / 'a.safetensors') == 0
    torch.testing.assert_close(load_file(tmp_path / 'a.safetensors'), dict(encoder), rtol=0, atol=0)
    assert run(tmp_path / 'a.safetensors', tmp_path / 'b.pt') == 0
    written = torch.load(tmp_path / 'b.pt', weights_only=True)['model']
    torch.testing.assert_close(written, dict(encoder), rtol=0, atol=0)


def test_convert__onto_its_own_source(own_run):
    source, encoder = own_run
    assert run(source, source) == 0
    torch.testing.assert_close(torch.load(source, weights_only=True)['model'], dict(encoder), rtol=0, atol=0)


def test_convert__windowed_tables_keep_their_sizes(tmp_path):
    tensors = state(window_size=3, global_blocks=(1,), rel_pos='decomposed')
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in tensors.items()}}, tmp_path / 'detector.pth')
    assert run(tmp_path / 'detector.pth', tmp_path / 'encoder.pth') == 0
    written = torch.load(tmp_path / 'encoder.pth', weights_only=True)['model']
    assert written['blocks.0.attn.rel_pos_h'].shape == (5, 12)
    torch.testing.assert_close(written, dict(tensors), rtol=0, atol=0)


def test_convert__positions_that_are_not_square(tmp_path):
    tensors = PlainViT(TOY, img_size=(24, 56), patch_size=8).state_dict()
    torch.save({'model': tensors}, tmp_path / 'a.pth')
    assert run(tmp_path / 'a.pth', tmp_path / 'b.pth') == 0
    written = torch.load(tmp_path / 'b.pth', weights_only=True)['model']
    torch.testing.assert_close(written, dict(tensors), rtol=0, atol=0)


def test_inspect__format_architecture_report(own_run, capsys):
    assert run(own_run[0], '--inspect') == 0
    assert capsys.readouterr().out.splitlines() == [
        'architecture variant custom (embed_dim 24, depth 2), patch_size 8, in_channels 3',
        f'checkpoint   {own_run[0]}',
        'format       dense-mae pretraining',
        'loaded       30 tensors',
        'left over    decoder.mask_token: decoder of the pretraining model',
        'assumed      heads are not in the file: give num_heads; none assumed',
        'assumed      the activation is not in the file: exact GELU assumed',
        "assumed      the norms' epsilon is not in the file: 1e-06 assumed",
        'input size   32x32 (positions 4x4, learned)',
        'target       not told by the file',
        'head         MAE decoder',
        "config       backbone=dict(type='PlainViT', variant=dict(embed_dim=24, depth=2, num_heads=...), img_size=32, "
        "patch_size=8, out_norm=True, init_cfg=dict(type='PretrainedViT', checkpoint="
        f'{str(own_run[0])!r}))',
    ]


def test_inspect__names_the_variant(tmp_path, capsys):
    save_file(PlainViT('tiny', img_size=32).state_dict(), tmp_path / 'a.safetensors')
    assert run(tmp_path / 'a.safetensors', '--inspect') == 0
    assert 'variant tiny (embed_dim 192, depth 12), patch_size 16, in_channels 3' in capsys.readouterr().out


def test_bad_input__one_line_and_destination_untouched(tmp_path, capsys):
    sources = {'html': b'<html>404</html>', 'cut': b'PK\x03\x04', 'text': b'hello'}
    for name, content in sources.items():
        (tmp_path / name).write_bytes(content)
    torch.save({'state_dict': {'conv1.weight': torch.ones(2)}}, tmp_path / 'resnet')
    destination = tmp_path / 'out.pth'
    destination.write_bytes(b'precious')
    for name in (*sources, 'resnet', 'absent'):
        assert run(tmp_path / name, destination) == 2
        captured = capsys.readouterr()
        assert captured.out == ''
        assert captured.err.startswith('error: ')
        assert captured.err.count('\n') == 1
    assert destination.read_bytes() == b'precious'
    assert sorted(os.listdir(tmp_path)) == sorted([*sources, 'resnet', 'out.pth'])


def test_bad_input__part_without_a_place(tmp_path, capsys):
    torch.save({'model': state() | {'blocks.0.attn.q_bias': torch.ones(24)}}, tmp_path / 'beit.pth')
    assert run(tmp_path / 'beit.pth', tmp_path / 'out.pth', '--inspect') == 2
    captured = capsys.readouterr()
    assert 'unexpected   blocks.0.attn.q_bias' in captured.out
    assert captured.err.count('\n') == 1
    assert not (tmp_path / 'out.pth').exists()


def test_bad_destination(own_run, tmp_path, capsys):
    assert run(own_run[0], tmp_path / 'out.onnx') == 2
    assert "'.onnx': use .pth or .pt" in capsys.readouterr().err
    assert run(own_run[0], tmp_path / 'no folder' / 'out.pth') == 2
    assert 'no folder' in capsys.readouterr().err
    assert os.listdir(tmp_path) == ['epoch_3.pth']


def test_nothing_to_do(own_run, capsys):
    with pytest.raises(SystemExit) as caught:
        run(own_run[0])
    assert caught.value.code == 2
    assert 'give DST' in capsys.readouterr().err


# The writing direction

EXAMPLES = {
    'mae': ('encoder.pth', lambda content: content['model']),
    'timm': ('model.pth', lambda content: content),
    'transformers': ('pytorch_model.bin', lambda content: content),
    'mmpretrain': ('vit.pth', lambda content: content['state_dict']),
}


@pytest.mark.parametrize('target', [*EXAMPLES, 'safetensors'])
def test_convert__there_and_back_is_exact(own_run, tmp_path, target):
    source, encoder = own_run
    there = tmp_path / EXAMPLES.get(target, ('model.safetensors',))[0]
    assert run(source, there, '--to', target) == 0
    assert run(there, tmp_path / 'back.pth', '--to', 'mae') == 0
    written = torch.load(tmp_path / 'back.pth', weights_only=True)['model']
    torch.testing.assert_close(written, dict(encoder), rtol=0, atol=0)


@pytest.mark.parametrize(
    ('target', 'names'),
    [
        ('mae', {'pos_embed', 'blocks.1.attn.qkv.bias', 'norm.weight'}),
        ('timm', {'pos_embed', 'blocks.1.attn.qkv.bias', 'norm.weight'}),
        ('transformers', {'embeddings.position_embeddings', 'layers.1.attention.k_proj.bias', 'layernorm.weight'}),
        ('mmpretrain', {'backbone.pos_embed', 'backbone.layers.1.ffn.layers.0.0.bias', 'backbone.ln1.weight'}),
    ],
)
def test_convert__names_of_the_target(own_run, tmp_path, target, names):
    file, take = EXAMPLES[target]
    assert run(own_run[0], tmp_path / file, '--to', target) == 0
    assert names <= take(torch.load(tmp_path / file, weights_only=True)).keys()


def test_convert__windowed_encoder_to_transformers_and_back(tmp_path):
    tensors = state(window_size=3, global_blocks=(1,), rel_pos='decomposed')
    tensors = {name: value for name, value in tensors.items() if not name.startswith('norm.')}
    torch.save({'model': tensors}, tmp_path / 'a.pth')
    assert run(tmp_path / 'a.pth', tmp_path / 'b.bin', '--to', 'transformers') == 0
    assert 'encoder.layer.1.attention.rel_pos_h' in torch.load(tmp_path / 'b.bin', weights_only=True)
    assert run(tmp_path / 'b.bin', tmp_path / 'c.pth') == 0
    written = torch.load(tmp_path / 'c.pth', weights_only=True)['model']
    torch.testing.assert_close(written, tensors, rtol=0, atol=0)


def test_convert__parameter_that_the_target_lacks(tmp_path, capsys):
    torch.save({'model': state(window_size=3, rel_pos='decomposed', out_norm=True)}, tmp_path / 'a')
    assert run(tmp_path / 'a', tmp_path / 'b.bin', '--to', 'transformers') == 2
    assert 'VitDet has no place for norm.weight, norm.bias' in capsys.readouterr().err
    assert os.listdir(tmp_path) == ['a']


@pytest.mark.parametrize(
    ('name', 'target'), [('a.safetensors', 'mae'), ('a.pth', 'safetensors'), ('a.pth', 'transformers')]
)
def test_convert__suffix_of_another_target(own_run, tmp_path, capsys, name, target):
    assert run(own_run[0], tmp_path / name, '--to', target) == 2
    assert f'for {target}' in capsys.readouterr().err
    assert os.listdir(tmp_path) == ['epoch_3.pth']


def test_to__needs_a_destination(own_run, capsys):
    with pytest.raises(SystemExit) as caught:
        run(own_run[0], '--inspect', '--to', 'mae')
    assert caught.value.code == 2
    assert '--to needs DST' in capsys.readouterr().err


# What --inspect tells beyond the report


def inspected(path, capsys):
    assert run(path, '--inspect') == 0
    return {line[:12].strip(): line[13:] for line in capsys.readouterr().out.splitlines()}


@pytest.mark.parametrize(('norm_pix', 'told'), [(True, 'norm-pix'), (False, 'raw pixels')])
@pytest.mark.parametrize('where', ['args', 'meta', 'beside'])
def test_inspect__target_of_the_pretraining(tmp_path, capsys, where, norm_pix, told):
    content = {'model': state()}
    if where == 'args':
        content['args'] = argparse.Namespace(norm_pix_loss=norm_pix)
    elif where == 'meta':
        content['meta'] = {'cfg': f"model = dict(\n    norm_pix={norm_pix},\n    type='MaskedAutoencoder')"}
    else:
        (tmp_path / 'config.json').write_text(f'{{"norm_pix_loss": {str(norm_pix).lower()}}}')
    torch.save(content, tmp_path / 'a.pth')
    assert inspected(tmp_path / 'a.pth', capsys)['target'] == told


def test_inspect__neighbour_that_is_no_config(tmp_path, capsys):
    torch.save({'model': state()}, tmp_path / 'a.pth')
    for text in ('{cut', '[1]', '"text"'):
        (tmp_path / 'config.json').write_text(text)
        assert run(tmp_path / 'a.pth', '--inspect') == 0
        assert 'not told by the file' in capsys.readouterr().out


def test_inspect__tensors_without_values(tmp_path, capsys):
    torch.save({'model': {name: value.to('meta') for name, value in state().items()}}, tmp_path / 'a.pth')
    assert run(tmp_path / 'a.pth', '--inspect') == 2
    told = capsys.readouterr()
    assert 'has no values (saved from the meta device)' in told.err


def test_inspect__head_and_layout_of_the_positions(tmp_path, capsys):
    tensors = PlainViT('tiny', img_size=32).state_dict()
    swapped = tensors['pos_embed'].roll(96, dims=2)
    for table, told in ((tensors['pos_embed'], 'sin-cos, xy layout'), (swapped, 'sin-cos, yx layout')):
        torch.save({'model': tensors | {'pos_embed': table, 'head.weight': torch.ones(7, 192)}}, tmp_path / 'a.pth')
        lines = inspected(tmp_path / 'a.pth', capsys)
        assert lines['input size'] == f'32x32 (positions 2x2, {told})'
        assert lines['head'] == 'classifier of 7 classes'
        assert lines['config'].startswith(
            "backbone=dict(type='PlainViT', variant='tiny', img_size=32, patch_size=16, init"
        )


@pytest.mark.parametrize('content', ['pickle', 'archive'])
def test_bad_input__nothing_runs_and_nothing_is_unpacked(tmp_path, capsys, content):
    trace, source = tmp_path / 'trace', tmp_path / 'a.pkl'
    if content == 'pickle':
        source.write_bytes(pickle.dumps({'model': Attack(trace)}))
    else:
        with zipfile.ZipFile(source, 'w', zipfile.ZIP_DEFLATED) as archive:
            archive.writestr('a/data.pkl', bytes(1_000_000))
    assert run(source, tmp_path / 'out.pth') == 2
    captured = capsys.readouterr()
    assert captured.err.count('\n') == 1
    assert ('posix.system' if content == 'pickle' else 'claim to hold') in captured.err
    assert os.listdir(tmp_path) == ['a.pkl']
