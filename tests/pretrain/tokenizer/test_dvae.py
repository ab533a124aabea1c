"""Shapes, files and failures of the tokenizer; its numbers are compared in tests/parity/test_tokenizer_dall_e.py."""

import dall_e
import pytest
import torch

from pretrain.tokenizer.dvae import DiscreteVAE, load_tokenizer
from pretrain.tokenizer.training import TokenizerTraining
from tests.helpers import randomise

SMALL = dict(vocab_size=40, hidden=8, groups=3, blocks=1, decoder_init=5)


@pytest.fixture
def tokenizer():
    tokenizer = randomise(DiscreteVAE(**SMALL))
    # Random weights alone would name one code everywhere.
    TokenizerTraining(tokenizer).spread_codes(torch.rand(4, 3, 16, 16), 1.0)
    return tokenizer


@pytest.fixture
def images():
    return torch.rand(2, 3, 12, 20)


def test_tokenizer__one_code_per_stride(tokenizer, images):
    assert tokenizer.stride == 4
    ids = tokenizer.encode(images)
    assert (ids.shape, ids.dtype) == ((2, 3, 5), torch.int64)
    assert torch.equal(ids, tokenizer.logits(images).argmax(dim=1))
    drawn = tokenizer.decode(ids)
    assert drawn.shape == images.shape
    assert 0 <= drawn.min() < drawn.max() <= 1


def test_tokenizer__options_change_the_sizes():
    sizes = {name: {**SMALL, name: value} for name, value in dict(hidden=12, blocks=2, decoder_init=9).items()}
    counts = {name: sum(p.numel() for p in DiscreteVAE(**size).parameters()) for name, size in sizes.items()}
    assert len({*counts.values(), sum(p.numel() for p in DiscreteVAE(**SMALL).parameters())}) == 4
    assert DiscreteVAE(vocab_size=40, hidden=8, groups=1, blocks=1).encode(torch.rand(1, 3, 2, 3)).shape == (1, 2, 3)


def test_encode__autocast_changes_no_id(tokenizer):
    images = torch.rand(8, 3, 32, 32)
    ids = tokenizer.encode(images)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(tokenizer.encode(images), ids)
        # What it guards against: these logits are coarse.
        assert not torch.equal(tokenizer.logits(images).argmax(dim=1), ids)
        assert torch.equal(tokenizer.decode(ids), tokenizer.decode(ids).float())


@pytest.mark.parametrize('size', [(10, 20), (12, 21)])
def test_tokenizer__images_of_whole_codes(tokenizer, size):
    with pytest.raises(ValueError, match=f'one code of 4x4 pixels, and {size[0]}x{size[1]}'):
        tokenizer.encode(torch.rand(1, 3, *size))


@pytest.mark.parametrize('wrong', [dict(hidden=6), dict(vocab_size=1), dict(groups=0), dict(blocks=0)])
def test_tokenizer__impossible_sizes(wrong):
    with pytest.raises(ValueError, match='no tokenizer of'):
        DiscreteVAE(**{**SMALL, **wrong})


@pytest.mark.parametrize('kind', ['training', 'plain', 'prefixed'])
def test_load_tokenizer__own_files(tokenizer, images, tmp_path, kind):
    weights = tokenizer.state_dict()
    content = {
        'training': {'state_dict': TokenizerTraining(tokenizer).state_dict(), 'meta': {}},
        'plain': weights,
        'prefixed': {'model': {f'module.{name}': value for name, value in weights.items()}},
    }[kind]
    torch.save(content, tmp_path / 'file.pth')
    loaded = load_tokenizer(tmp_path / 'file.pth')
    assert (loaded.vocab_size, loaded.stride, loaded.training) == (40, 4, False)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert torch.equal(loaded.encode(images), tokenizer.encode(images))


def test_load_tokenizer__encoder_alone_cannot_draw(tmp_path):
    encoder = dall_e.Encoder(n_hid=64, vocab_size=512)
    torch.save(encoder, tmp_path / 'encoder.pkl')
    torch.save({'state_dict': encoder.state_dict()}, tmp_path / 'dalle_encoder.pth')
    images = torch.rand(1, 3, 16, 8)
    ids = encoder(dall_e.map_pixels(images)).argmax(dim=1)
    for path in (tmp_path / 'encoder.pkl', tmp_path / 'dalle_encoder.pth', tmp_path):
        tokenizer = load_tokenizer(path)
        assert torch.equal(tokenizer.encode(images), ids)
        with pytest.raises(ValueError, match='has no decoder, so it cannot draw'):
            tokenizer.decode(ids)


def test_load_tokenizer__decoder_alone_cannot_encode(tmp_path):
    torch.save(dall_e.Decoder(n_hid=64, vocab_size=512), tmp_path / 'decoder.pkl')
    tokenizer = load_tokenizer(tmp_path / 'decoder.pkl')
    assert tokenizer.decode(torch.zeros(1, 1, 2, dtype=torch.int64)).shape == (1, 3, 8, 16)
    with pytest.raises(ValueError, match='without an encoder'):
        tokenizer.encode(torch.rand(1, 3, 8, 8))


def test_load_tokenizer__other_files(tokenizer, tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match=r'no encoder\.pkl or decoder\.pkl in'):
        load_tokenizer(tmp_path / 'empty')
    torch.save({'encoder.blocks.0.weight': torch.zeros(1)}, tmp_path / 'mae.pth')
    with pytest.raises(ValueError, match=r'mae\.pth holds no tokenizer'):
        load_tokenizer(tmp_path / 'mae.pth')
    weights = tokenizer.state_dict()
    del weights['encoder.blocks.group_2.block_1.res_path.conv_3.b']
    torch.save(weights, tmp_path / 'part.pth')
    with pytest.raises(ValueError, match=r'(?s)part.pth is not of the architecture.*group_2.block_1.res_path.conv_3.b'):
        load_tokenizer(tmp_path / 'part.pth')


def test_fingerprint__of_the_encoder_alone(tokenizer, tmp_path):
    mark = tokenizer.fingerprint()
    torch.save(tokenizer.state_dict(), tmp_path / 'file.pth')
    assert load_tokenizer(tmp_path / 'file.pth').fingerprint() == mark
    with torch.no_grad():
        tokenizer.decoder.blocks.input.w.add_(1)
        assert tokenizer.fingerprint() == mark
        tokenizer.encoder.blocks.output.conv.b[3] += 1e-3
    assert tokenizer.fingerprint() != mark
