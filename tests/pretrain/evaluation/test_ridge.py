"""Ridge read-out against gradient descent on its objective."""

import pytest
import torch

from pretrain.evaluation.ridge import ridge_accuracy


def labelled(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=generator)
    centres = torch.randn(3, 5, generator=torch.Generator().manual_seed(99))
    scales = torch.tensor([1, 10, 0.1, 3, 1])
    return (centres[labels] + 1.5 * torch.randn(count, 5, generator=generator)) * scales + 4, labels


def plain_accuracy(train, val, strength):
    """Minimise mean squared error + strength * |W|^2 with a free offset, step by step."""
    columns = [train[0][:, i].double() for i in range(5)]
    means = [sum(c.tolist()) / len(c) for c in columns]
    scales = [(sum((v - m) ** 2 for v in c.tolist()) / len(c)) ** 0.5 for c, m in zip(columns, means, strict=True)]

    def normed(features):
        return torch.stack([(features[:, i].double() - means[i]) / scales[i] for i in range(5)], dim=1)

    inputs = normed(train[0])
    targets = torch.tensor([[float(label == n) for n in range(3)] for label in train[1].tolist()]).double()
    weight, offset = torch.zeros(5, 3).double(), torch.zeros(3).double()
    for _ in range(2000):
        error = inputs @ weight + offset - targets
        weight = weight - 0.2 * (inputs.T @ error / len(inputs) + strength * weight)
        offset = offset - 0.2 * error.mean(0)
    guesses = (normed(val[0]) @ weight + offset).tolist()
    right = sum(row.index(max(row)) == label for row, label in zip(guesses, val[1].tolist(), strict=True))
    return 100 * right / len(val[1])


@pytest.mark.parametrize('strength', [0.01, 5.0])
def test_ridge_accuracy__minimises_its_objective(strength):
    train, val = labelled(40, 1), labelled(200, 2)
    assert ridge_accuracy(train, val, strength) == pytest.approx(plain_accuracy(train, val, strength))


def test_ridge_accuracy__strength_matters():
    train, val = labelled(12, 1), labelled(400, 2)
    assert ridge_accuracy(train, val, 1e-6) != ridge_accuracy(train, val, 100)


def test_ridge_accuracy__constant_features_do_not_count():
    train, val = labelled(40, 1), labelled(200, 2)
    padded = [
        (torch.cat([features, torch.full((len(features), 1), 1e3)], 1), labels) for features, labels in (train, val)
    ]
    padded[1][0][:, 5] += 1
    assert ridge_accuracy(*padded) == ridge_accuracy(train, val)
