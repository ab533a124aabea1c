"""The tokenizer's loss against plain loops, and that it trains."""

import math

import pytest
import torch

from pretrain.tokenizer.dvae import DiscreteVAE, map_pixels
from pretrain.tokenizer.training import (
    TokenizerTraining,
    kl_to_uniform,
    l1_loss,
    l2_loss,
    logit_laplace_loss,
    perplexity,
    relaxed_codes,
)
from tests.helpers import randomise


@pytest.fixture
def model():
    model = TokenizerTraining(randomise(DiscreteVAE(vocab_size=16, hidden=8, groups=2, blocks=1, decoder_init=6)))
    # Random weights alone would name one code everywhere.
    model.spread_codes(torch.rand(4, 3, 16, 16), 1.0)
    return model


def test_logit_laplace__plain_density():
    outputs = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    pixels = map_pixels(torch.rand(2, 3, 3, 4, dtype=torch.float64))
    total = 0.0
    for b, c, y, x in torch.cartesian_prod(*(torch.arange(n) for n in pixels.shape)).tolist():
        value, location = pixels[b, c, y, x].item(), outputs[b, c, y, x].item()
        scale = math.exp(outputs[b, c + 3, y, x].item())
        distance = abs(math.log(value / (1 - value)) - location)
        total -= math.log(math.exp(-distance / scale) / (2 * scale * value * (1 - value)))
    assert logit_laplace_loss(outputs, pixels).item() == pytest.approx(total / pixels.numel(), rel=1e-10)


def test_logit_laplace__is_a_density():
    location, log_scale = 0.4, -0.7
    pixels = torch.linspace(0, 1, 200_001, dtype=torch.float64)[1:-1]
    density = []
    outputs = torch.tensor([location] * 3 + [log_scale] * 3, dtype=torch.float64).reshape(1, 6, 1, 1)
    for value in pixels[::1000]:
        density.append(math.exp(-logit_laplace_loss(outputs, value.expand(1, 3, 1, 1)).item()))
    assert sum(density) * 1000 / 200_000 == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize(('loss', 'power'), [(l1_loss, 1), (l2_loss, 2)])
def test_distance__plain_loop(loss, power):
    outputs = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    pixels = map_pixels(torch.rand(2, 3, 3, 4, dtype=torch.float64))
    total = 0.0
    for b, c, y, x in torch.cartesian_prod(*(torch.arange(n) for n in pixels.shape)).tolist():
        drawn = 1 / (1 + math.exp(-outputs[b, c, y, x].item()))
        total += abs(drawn - pixels[b, c, y, x].item()) ** power
    assert loss(outputs, pixels).item() == pytest.approx(total / 72, rel=1e-10)


def test_reconstruction__each_loss_changes_the_result(model):
    images, found = torch.rand(2, 3, 8, 12), {}
    for name in ('logit_laplace', 'l2', 'l1'):
        trained = TokenizerTraining(model.tokenizer, reconstruction=name)
        torch.manual_seed(3)
        found[name] = trained(images, mode='loss')['reconstruction'].item()
    torch.manual_seed(3)
    codes = relaxed_codes(model.tokenizer.logits(images), torch.tensor(1.0))
    outputs, pixels = model.tokenizer.decoder(codes), map_pixels(images)
    difference = 1 / (1 + (-outputs[:, :3]).exp()) - pixels
    assert found['l2'] == pytest.approx((difference**2).mean().item(), rel=1e-5)
    assert found['l1'] == pytest.approx(difference.abs().mean().item(), rel=1e-5)
    assert len({round(value, 4) for value in found.values()}) == 3
    with pytest.raises(ValueError, match="reconstruction='huber' is unknown: use one of logit_laplace, l2, l1"):
        TokenizerTraining(model.tokenizer, reconstruction='huber')


def test_kl__plain_sum():
    logits = 2 * torch.randn(2, 5, 3, 4, dtype=torch.float64)
    total = 0.0
    for b, y, x in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4)).tolist():
        weights = [math.exp(value) for value in logits[b, :, y, x].tolist()]
        shares = [weight / sum(weights) for weight in weights]
        total += sum(share * math.log(share * 5) for share in shares)
    assert kl_to_uniform(logits).item() == pytest.approx(total / 24, rel=1e-10)
    assert kl_to_uniform(torch.full((1, 5, 2, 2), 3.0)).item() == pytest.approx(0, abs=1e-6)


def test_relaxed_codes__follow_the_distribution_and_harden():
    logits = torch.tensor([0.6, 0.3, 0.1]).log().reshape(1, 3, 1, 1).expand(1, 3, 100, 200)
    hard = relaxed_codes(logits, torch.tensor(0.01))
    assert torch.allclose(hard.sum(dim=1), torch.ones(1, 100, 200), atol=1e-5)
    # Standard error of each share: under 0.0035.
    assert hard.argmax(dim=1).flatten().bincount(minlength=3).div(20_000).tolist() == pytest.approx(
        [0.6, 0.3, 0.1], abs=0.014
    )
    soft = relaxed_codes(logits, torch.tensor(1.0))
    assert hard.amax(dim=1).mean() > 0.98 > 0.9 > soft.amax(dim=1).mean()


def test_perplexity__plain():
    assert perplexity(torch.tensor([4.0, 4.0, 4.0, 0.0])).item() == pytest.approx(3)
    assert perplexity(torch.tensor([0, 7])).item() == pytest.approx(1)


def test_loss__kl_weight_counts_per_pixel_value(model):
    images = torch.rand(2, 3, 8, 12)
    results = []
    for weight in (0.0, 6.6):
        model.kl_weight.fill_(weight)
        torch.manual_seed(3)
        results.append(model(images, mode='loss'))
    plain, weighted = results
    assert plain['loss'] == plain['reconstruction']
    assert plain['kl'] == pytest.approx(kl_to_uniform(model.tokenizer.logits(images)).item())
    # A code of the stride 2 stands for 2 x 2 x 3 values.
    assert (weighted['loss'] - plain['loss']).item() == pytest.approx(6.6 * plain['kl'].item() / 12, rel=1e-4)


def test_loss__temperature_changes_it(model):
    images, losses = torch.rand(2, 3, 8, 12), []
    for temperature in (1.0, 0.1):
        model.temperature.fill_(temperature)
        torch.manual_seed(3)
        losses.append(model(images, mode='loss')['loss'].item())
    assert abs(losses[0] - losses[1]) > 1e-3


def test_usage__of_the_last_hundred_batches(model):
    images = torch.rand(2, 3, 8, 12)
    first = model(images, mode='loss')
    counts = model(images, mode='tensor').flatten().bincount(minlength=16)
    used = (counts > 0).sum().item()
    assert 1 < used < 16
    assert first['codes_used'].item() == pytest.approx(used / 16)
    assert first['perplexity'].item() == pytest.approx(perplexity(counts).item(), rel=1e-5)
    with torch.no_grad():
        # One code wins from now on.
        model.tokenizer.encoder.blocks.output.conv.b[5] += 1e3
    shares = [model(images, mode='loss')['codes_used'].item() * 16 for _ in range(101)]
    assert shares[98] >= used
    assert shares[100] == pytest.approx(1)


def test_spread_codes__every_code_varies_alike(model):
    images = torch.rand(4, 3, 16, 12)
    before = model.tokenizer.logits(images).transpose(0, 1).flatten(1)
    model.spread_codes(images, 1.5)
    after = model.tokenizer.logits(images).transpose(0, 1).flatten(1)
    expected = (before - before.mean(dim=1, keepdim=True)) / before.std(dim=1, keepdim=True) * 1.5
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-4)


def test_training__learns_to_draw_colours():
    """Flat colours are learned within a few steps: error of the reconstruction falls, several codes are in use."""
    model = TokenizerTraining(DiscreteVAE(vocab_size=16, hidden=8, groups=2, blocks=1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    colours = torch.rand(6, 3, 1, 1)
    images = colours[torch.randint(6, (8,))].expand(8, 3, 4, 4)
    model.spread_codes(images + 0.05 * torch.randn(8, 3, 4, 4), 2.0)
    errors = []
    for step in range(200):
        model.temperature.fill_(max(0.1, 1 - step / 100))
        model(images, mode='loss')['loss'].backward()
        optimizer.step()
        optimizer.zero_grad()
        if step in (0, 199):
            errors.append((model.tokenizer.decode(model.tokenizer.encode(images)) - images).abs().mean().item())
    # A small model on few steps: how far it gets depends on the machine's rounding.
    assert errors[-1] < 0.75 * errors[0]
    assert len(model.tokenizer.encode(images).unique()) >= 3


def test_forward__unknown_mode(model):
    with pytest.raises(ValueError, match="mode='predict' is unknown"):
        model(torch.rand(1, 3, 8, 8), mode='predict')
