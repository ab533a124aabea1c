"""Linear probe against a plain loop, and its options."""

import math
from dataclasses import replace

import pytest
import torch

from pretrain.evaluation.probe import ProbeRecipe, build_probe, choose_rate, probe_accuracy, split_images, train_probe

RECIPE = ProbeRecipe(epochs=3, batch_size=16, rates=(0.1,))


def labelled(count, seed, views=1, classes=3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, 5, generator=torch.Generator().manual_seed(99))
    return centres[labels] + 2 * torch.randn(views, count, 5, generator=generator), labels


def plain_probe(features, labels, recipe, rate, seed):
    """Batch norm, softmax regression and momentum by hand; returns mean, variance, weights and bias."""
    features = features.reshape(-1, 5).double()
    labels = labels.tolist() * (len(features) // len(labels))
    generator = torch.Generator().manual_seed(seed)
    weight = build_probe(5, 3, generator)[1].weight.detach().double().clone()
    bias, speed = torch.zeros(3).double(), [torch.zeros(3, 5).double(), torch.zeros(3).double()]
    mean, variance = torch.zeros(5).double(), torch.ones(5).double()
    steps = -(-len(features) // recipe.batch_size)
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(features), generator=generator)
        for index, places in enumerate(order.tensor_split(steps)):
            lr = rate * 0.5 * (1 + math.cos(math.pi * (epoch * steps + index) / (recipe.epochs * steps)))
            batch = features[places]
            mu = batch.mean(0)
            var = ((batch - mu) ** 2).mean(0)
            mean, variance = (
                0.9 * mean + 0.1 * mu,
                0.9 * variance + 0.1 * var * len(batch) / (len(batch) - 1),
            )
            normed = (batch - mu) / (var + 1e-6).sqrt()
            gradient = [torch.zeros(3, 5).double(), torch.zeros(3).double()]
            for row, place in zip(normed, places.tolist(), strict=True):
                p = (weight @ row + bias).exp()
                error = p / p.sum()
                error[labels[place]] -= 1
                gradient[0] += error[:, None] * row / len(batch)
                gradient[1] += error / len(batch)
            speed = [0.9 * old + new for old, new in zip(speed, gradient, strict=True)]
            weight, bias = weight - lr * speed[0], bias - lr * speed[1]
    return mean, variance, weight, bias


@pytest.mark.parametrize('views', [1, 2])
def test_train_probe__equals_the_plain_loop(views):
    features, labels = labelled(21, 1, views)
    probe = train_probe((features, labels), RECIPE, 0.1, seed=3)
    mean, variance, weight, bias = plain_probe(features, labels, RECIPE, 0.1, seed=3)
    found = probe[0].running_mean, probe[0].running_var, probe[1].weight, probe[1].bias
    for ours, theirs in zip(found, (mean, variance, weight, bias), strict=True):
        torch.testing.assert_close(ours.detach().double(), theirs, rtol=1e-4, atol=1e-5)
    assert not probe.training


def test_probe_accuracy__is_that_of_the_probe():
    train, (features, labels) = labelled(60, 1), labelled(33, 2)
    result = probe_accuracy(train, (features[0], labels), RECIPE, 0)
    mean, variance, weight, bias = plain_probe(*train, RECIPE, 0.1, 0)
    logits = ((features[0].double() - mean) / (variance + 1e-6).sqrt()) @ weight.T + bias
    pairs = [(int(row.argmax()) == label, label) for row, label in zip(logits, labels.tolist(), strict=True)]
    shares = [[right for right, label in pairs if label == each] for each in range(3)]
    assert result == {
        'top1': pytest.approx(100 * sum(right for right, _ in pairs) / 33),
        'class_mean': pytest.approx(100 / 3 * sum(sum(share) / len(share) for share in shares)),
        'rate': 0.1,
    }


@pytest.mark.parametrize('option', [dict(epochs=4), dict(batch_size=8), dict(rates=(0.2,))])
def test_recipe__each_option_changes_the_probe(option):
    data = labelled(21, 1)
    changed = replace(RECIPE, **option)
    weights = [train_probe(data, recipe, recipe.rates[0], 0)[1].weight for recipe in (RECIPE, changed)]
    assert not torch.allclose(*weights)


def test_choose_rate__takes_the_one_that_learns():
    data = labelled(60, 1)
    useless = 1e-12
    assert choose_rate(data, replace(RECIPE, rates=(0.1, useless), epochs=10), 0) == 0.1
    assert choose_rate(data, replace(RECIPE, rates=(useless,)), 0) == useless


def test_split_images__share_of_each_class():
    labels = torch.tensor([0] * 10 + [1] * 2 + [2] + [3] * 7)
    fit, held = split_images(labels, 0.3, 0)
    assert torch.equal(torch.cat([fit, held]).sort().values, torch.arange(20))
    assert [int((labels[held] == label).sum()) for label in range(4)] == [3, 1, 0, 2]
    assert not torch.equal(held, split_images(labels, 0.3, 1)[1])
    assert [int((labels[split_images(labels, 0.5, 0)[1]] == label).sum()) for label in range(4)] == [5, 1, 0, 4]


def test_split_images__one_image_per_class():
    with pytest.raises(ValueError, match='each class has one training image'):
        split_images(torch.arange(3), 0.2, 0)


def test_build_probe__starts_as_published():
    norm, head = build_probe(2000, 50)
    assert not norm.affine and norm.eps == 1e-6
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.05) and not head.bias.any()
