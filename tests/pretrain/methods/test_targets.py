import math

import pytest
import torch

from pretrain.methods.targets import PixelTarget, TokenTarget, Views
from pretrain.tokenizer.dvae import DiscreteVAE
from tests.helpers import randomise

PLACES = torch.tensor([[0, 7, 4], [14, 1, 2]])


def tokenizer(vocab_size=11):
    return randomise(DiscreteVAE(vocab_size, hidden=8, groups=3, blocks=1, decoder_init=4)).eval()


def patch(images, sample, place):
    row, column = divmod(place, 5)
    return images[sample, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8].permute(1, 2, 0).flatten()


@pytest.mark.parametrize('norm_pix', [False, True])
@pytest.mark.parametrize('loss', ['l1', 'l2'])
def test_pixel_target__loss_equals_loops(norm_pix, loss):
    images, prediction = 2 * torch.randn(2, 3, 24, 40) + 1, torch.randn(2, 3, 192)
    total = 0.0
    for sample in range(2):
        for index, place in enumerate(PLACES[sample].tolist()):
            truth = patch(images, sample, place)
            if norm_pix:
                truth = (truth - truth.mean()) / (truth.var() + 1e-6).sqrt()
            error = prediction[sample, index] - truth
            total += (error.abs() if loss == 'l1' else error**2).mean().item() / 6
    target = PixelTarget(norm_pix, loss)
    assert target.losses(prediction, PLACES, Views(images, 8))['loss'].item() == pytest.approx(total, rel=1e-5)
    assert target.size(8, 3) == 192


def test_pixel_target__unknown_loss():
    with pytest.raises(ValueError, match="loss='huber' is unknown"):
        PixelTarget(True, 'huber')


def test_token_target__cross_entropy_and_accuracy_by_loops():
    target = TokenTarget(tokenizer())
    ids = torch.arange(30).reshape(2, 3, 5) % 11
    prediction = torch.randn(2, 3, 11)
    prediction[0, 1, ids[0].flatten()[7]] = 9.0
    losses = target.losses(prediction, PLACES, Views(torch.zeros(2, 3, 24, 40), 8, token_ids=ids))
    expected, right = 0.0, 0
    for sample in range(2):
        for index, place in enumerate(PLACES[sample].tolist()):
            scores = prediction[sample, index].tolist()
            true = ids[sample].flatten()[place].item()
            expected += (math.log(sum(math.exp(s) for s in scores)) - scores[true]) / 6
            right += scores.index(max(scores)) == true
    assert losses['loss'].item() == pytest.approx(expected, rel=1e-5)
    assert losses['mlm_acc'].item() == pytest.approx(right / 6)
    assert target.size(8, 3) == 11


def test_token_target__ids_are_the_tokenizers_of_the_second_view():
    vae = tokenizer()
    pixels = torch.randint(0, 256, (2, 3, 12, 20), dtype=torch.uint8)
    views = Views(torch.zeros(2, 3, 24, 40), 8, token_inputs=pixels)
    ids = TokenTarget(vae).ids(views)
    assert torch.equal(ids, vae.logits(pixels.float() / 255).argmax(1))
    assert ids.shape == (2, 3, 5) and ids.unique().numel() > 1


def test_token_target__results_guess_where_masked():
    ids = torch.arange(30).reshape(2, 3, 5) % 11
    prediction = torch.zeros(2, 15, 11)
    prediction[:, :, 10] = 1
    mask = torch.zeros(2, 15, dtype=torch.bool)
    mask[:, 6:9] = True
    tokens = TokenTarget(tokenizer()).results(prediction, mask, Views(torch.zeros(2, 3, 24, 40), 8, token_ids=ids))
    expected = ids.flatten(1).clone()
    expected[:, 6:9] = 10
    assert torch.equal(tokens['tokens'].flatten(1), expected)


def test_token_target__batch_without_second_view():
    with pytest.raises(ValueError, match='set token_size in the dataset'):
        TokenTarget(tokenizer()).ids(Views(torch.zeros(2, 3, 24, 40), 8))


def test_token_target__grids_that_do_not_pair():
    views = Views(torch.zeros(2, 3, 24, 40), 8, token_inputs=torch.zeros(2, 3, 16, 20, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r'3x5 patches and 4x5 tokens do not pair: set token_size=\(12, 20\)'):
        TokenTarget(tokenizer()).ids(views)
