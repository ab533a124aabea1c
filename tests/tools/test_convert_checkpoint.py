import importlib.util
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from backbones import PlainViT, load_pretrained
from tests.helpers import randomise

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location('convert_checkpoint', ROOT / 'tools' / 'convert_checkpoint.py')
TOOL = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(TOOL)
TOY = dict(embed_dim=24, depth=2, num_heads=2)


def run(*arguments):
    return TOOL.main([str(argument) for argument in arguments])


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
    assert 'unexpected   blocks.*.attn.q_bias' in captured.out
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
