"""Our tokenizer against OpenAI's own package, with randomised weights."""

import dall_e
import pytest
import torch

from pretrain.tokenizer.dvae import DiscreteVAE, load_tokenizer, map_pixels, unmap_pixels

# The smallest that the package allows.
SIZES = dict(vocab_size=512, n_hid=64)


def randomise(module):
    """Biases start at zero, and with the residual gain of 1/64 a wrong block would hardly show."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.mul_(3.2 if '.res_path.' in name else 1.0)
            if name.endswith('.b'):
                parameter.normal_(std=0.05)
    return module


@pytest.fixture(scope='module')
def theirs():
    torch.manual_seed(1)
    return randomise(dall_e.Encoder(**SIZES)), randomise(dall_e.Decoder(**SIZES, n_init=24))


@pytest.fixture(scope='module')
def ours(theirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp('published')
    for half, name in zip(theirs, ('encoder', 'decoder'), strict=True):
        torch.save(half, folder / f'{name}.pkl')
    return load_tokenizer(folder)


def test_tokenizer__same_ids_and_logits(theirs, ours):
    # Areas of one colour beside noise: many different codes.
    flat = torch.rand(3, 3, 5, 9).repeat_interleave(8, 2).repeat_interleave(8, 3)
    images = 0.7 * flat + 0.3 * torch.rand(3, 3, 40, 72)
    with torch.no_grad():
        expected = theirs[0](dall_e.map_pixels(images))
        torch.testing.assert_close(ours.logits(images), expected, rtol=0, atol=1e-5)
    ids = ours.encode(images)
    assert torch.equal(ids, expected.argmax(dim=1))
    assert ids.shape == (3, 5, 9)
    # A constant answer would prove nothing.
    assert len(ids.unique()) > 5


def test_tokenizer__same_images(theirs, ours):
    ids = torch.randint(512, (2, 3, 5))
    one_hot = torch.nn.functional.one_hot(ids, 512).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        outputs = theirs[1](one_hot)
        expected = dall_e.unmap_pixels(outputs[:, :3].sigmoid())
        torch.testing.assert_close(ours.decoder(one_hot), outputs, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.decoder.from_ids(ids), outputs, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.decode(ids), expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.02


def test_tokenizer__same_pixels():
    images = torch.linspace(0, 1, 24).reshape(1, 3, 2, 4)
    torch.testing.assert_close(map_pixels(images), dall_e.map_pixels(images), rtol=0, atol=1e-7)
    pixels = torch.linspace(-0.2, 1.2, 24).reshape(1, 3, 2, 4)
    torch.testing.assert_close(unmap_pixels(pixels), dall_e.unmap_pixels(pixels), rtol=0, atol=1e-7)


def test_tokenizer__published_sizes():
    with torch.device('meta'):
        model = DiscreteVAE()
        theirs = dall_e.Encoder(device='meta'), dall_e.Decoder(device='meta')
    for half, published in zip((model.encoder, model.decoder), theirs, strict=True):
        assert {n: p.shape for n, p in half.named_parameters()} == {n: p.shape for n, p in published.named_parameters()}
