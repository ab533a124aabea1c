"""Probes of all layers against a plain loop."""

import math

import pytest
import torch

from pretrain.evaluation.layer_probe import layer_accuracies


def labelled(count, seed, views=None):
    """Features of two layers: noise alone, and noise with the classes in it."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    shape = (count, 2, 4) if views is None else (views, count, 2, 4)
    features = torch.randn(shape, generator=generator)
    features[..., 1, :3] += torch.eye(3)[labels]
    return features, labels


def plain_guesses(train, val, layer, seed, epochs, batch, rate):
    """AdamW by hand (arXiv 1711.05101) on one layer."""
    features = train[0][:, :, layer].reshape(-1, 4).double()
    labels = train[1].tolist() * len(train[0])
    generator = torch.Generator().manual_seed(seed)
    weight = 0.01 * torch.randn(2, 4, 3, generator=generator)[layer].double()
    values = [weight, torch.zeros(3).double()]
    first, second = ([torch.zeros_like(each) for each in values] for _ in range(2))
    step = 0
    for epoch in range(epochs):
        lr = rate * batch / 256 * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        for places in torch.randperm(len(features), generator=generator).split(batch):
            step += 1
            gradient = [torch.zeros_like(each) for each in values]
            for place in places.tolist():
                error = (features[place] @ values[0] + values[1]).softmax(0)
                error[labels[place]] -= 1
                gradient[0] += features[place][:, None] * error / len(places)
                gradient[1] += error / len(places)
            for i, g in enumerate(gradient):
                first[i], second[i] = 0.9 * first[i] + 0.1 * g, 0.999 * second[i] + 0.001 * g**2
                unbiased = first[i] / (1 - 0.9**step), second[i] / (1 - 0.999**step)
                values[i] = values[i] * (1 - lr * 1e-4) - lr * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
    return (val[0][:, layer].double() @ values[0] + values[1]).argmax(1)


@pytest.mark.parametrize('views', [1, 2])
def test_layer_accuracies__equals_the_plain_loop(views):
    train, val = labelled(15, 1, views), labelled(90, 2)
    options = dict(epochs=4, batch=6, rate=2.0)
    found = layer_accuracies(train, val, 3, 4, 6, 2.0)
    for layer, accuracy in enumerate(found):
        guesses = plain_guesses(train, val, layer, 3, **options)
        assert accuracy == pytest.approx(100 * (guesses == val[1]).double().mean().item())
    assert found[1] > found[0]


@pytest.mark.parametrize('option', [dict(epochs=1), dict(batch_size=15), dict(rate=0.01), dict(seed=4)])
def test_layer_accuracies__each_option_changes_the_result(option):
    train, val = labelled(15, 1, 1), labelled(900, 2)
    options = dict(seed=3, epochs=3, batch_size=5, rate=1.0)
    assert layer_accuracies(train, val, **options) != layer_accuracies(train, val, **{**options, **option})
