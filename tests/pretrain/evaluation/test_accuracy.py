"""Top-k accuracy against counting by hand."""

import pytest
import torch
from mmengine.registry import MODELS

from pretrain.evaluation.accuracy import ClassAccuracy, class_mean
from tests.helpers import randomise


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


def test_accuracy__of_equal_scores_the_first_is_the_guess():
    """As argmax has it: classes 0, 2 and 1 share the greatest score."""
    scores = [[0.3, 0.3, 0.3, 0.1]] * 4
    found = evaluate(scores, [0, 1, 2, 3], topk=(1, 2, 3))
    guesses = torch.tensor(scores).argmax(dim=1)
    assert found['accuracy/top1'] == 100 * (guesses == torch.arange(4)).double().mean() == 25
    assert (found['accuracy/top2'], found['accuracy/top3']) == (50, 75)


def test_accuracy__nan_is_wrong():
    assert evaluate([[float('nan')] * 4] * 3, [0, 1, 3], topk=(1, 3)) == {
        'accuracy/top1': 0, 'accuracy/top3': 0, 'accuracy/class_mean': 0,
    }  # fmt: skip


def test_accuracy__rounded_scores_lose_no_more_than_the_rounding():
    """Ties are errors in half of the cases, as many as the guess among two comes to."""
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(4000, 50, generator=generator) + 4
    labels = (exact + torch.randn(4000, 50, generator=generator) / 2).argmax(dim=1)
    rounded = exact.bfloat16()
    best = rounded.topk(2, dim=1).values
    ties = 100 * (best[:, 0] == best[:, 1]).double().mean().item()
    assert ties > 2
    ours = [evaluate(scores.tolist(), labels.tolist())['accuracy/top1'] for scores in (exact, rounded)]
    strict = 100 * ((rounded > rounded.gather(1, labels[:, None])).sum(dim=1) == 0).double().mean().item()
    assert abs(ours[0] - ours[1]) < ties / 8
    assert ours[1] == pytest.approx(100 * (rounded.float().argmax(dim=1) == labels).double().mean().item())
    assert strict >= ours[1]


@pytest.mark.parametrize('probe', ['Classifier', 'LinearProbe', 'LayerProbes'])
def test_predictions__heads_run_in_float32_under_autocast(probe):
    """Features and weights that float32 tells apart, and bfloat16 does not."""
    options = dict(out_norm=probe == 'LinearProbe')
    backbone = dict(type='PlainViT', variant=dict(embed_dim=24, depth=2, num_heads=3), img_size=16, patch_size=8)
    model = MODELS.build(dict(type=probe, backbone=backbone | options, num_classes=200)).eval()
    randomise(model)
    images = torch.randn(32, 3, 16, 16)
    labels = torch.zeros(32, dtype=torch.long)
    with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
        cast = model(images, labels, mode='predict')
        features = model.features(images)
        rounded = model.scores(features)
    assert rounded.dtype == torch.bfloat16
    with torch.no_grad():
        expected = model.scores(features).float().softmax(-1)
    found = torch.stack([each.scores for each in cast])
    torch.testing.assert_close(found, expected)
    assert not torch.equal(rounded.float().softmax(-1), expected)


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
