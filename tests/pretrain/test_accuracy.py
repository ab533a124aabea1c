"""Top-k accuracy against counting by hand."""

import pytest
import torch

from pretrain.accuracy import ClassAccuracy, class_mean


def evaluate(scores, labels, **options):
    metric = ClassAccuracy(**options)
    metric.process(None, [dict(scores=torch.tensor(s), label=label) for s, label in zip(scores, labels, strict=True)])
    return metric.evaluate(len(labels))


def test_accuracy__counts_the_best_k():
    scores = [[0.1, 0.5, 0.2, 0.2], [0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]]
    found = evaluate(scores, [1, 1, 0, 2], topk=(1, 2, 3))
    found.pop('accuracy/class_mean')
    assert found == pytest.approx({'accuracy/top1': 25, 'accuracy/top2': 50, 'accuracy/top3': 75})


def test_accuracy__top5_needs_more_than_five_classes():
    assert set(evaluate([[0.2] * 4 + [0.3]], [4])) == {'accuracy/top1', 'accuracy/class_mean'}
    assert set(evaluate([[0.1] * 5 + [0.3]], [5])) == {'accuracy/top1', 'accuracy/top5', 'accuracy/class_mean'}


@pytest.mark.parametrize('value', [0.25, float('nan')])
def test_accuracy__scores_that_say_nothing_are_wrong(value):
    assert evaluate([[value] * 4] * 3, [0, 1, 3])['accuracy/top1'] == 0


def test_class_mean__rare_classes_count_as_frequent_ones():
    # Class 0: 3 of 4, class 3: 0 of 1, class 5: 1 of 2; nobody is of class 1.
    labels, guesses = torch.tensor([0, 0, 3, 0, 5, 5, 0]), torch.tensor([0, 0, 1, 0, 5, 0, 3])
    assert class_mean(guesses == labels, labels) == pytest.approx(100 * (3 / 4 + 0 + 1 / 2) / 3)


def test_accuracy__class_mean_of_an_uneven_set():
    """Twenty images of class 0, three of class 2, one of class 3 and none of class 1, four classes."""
    labels = [0] * 20 + [2] * 3 + [3]
    scores = torch.randn(24, 4, generator=torch.Generator().manual_seed(1)).double()
    # Most are taken for the frequent class.
    scores[:, 0] += 3
    scores[20, 2] += 9
    shares = []
    for label in (0, 2, 3):
        rows = [row.tolist() for row, own in zip(scores, labels, strict=True) if own == label]
        shares.append(sum(row.index(max(row)) == label for row in rows) / len(rows))
    found = evaluate(scores.tolist(), labels)
    assert found['accuracy/class_mean'] == pytest.approx(100 * sum(shares) / 3)
    assert abs(found['accuracy/class_mean'] - found['accuracy/top1']) > 10
