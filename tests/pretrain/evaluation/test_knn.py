"""Nearest neighbours against plain loops."""

import math

import pytest
import torch

from pretrain.evaluation.knn import knn_accuracy, knn_guesses, nearest, vote


def features(count, seed, classes=3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    centres = torch.randn(classes, 7, generator=torch.Generator().manual_seed(99))
    return centres[labels] + 1.5 * torch.randn(count, 7, generator=generator), labels


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def plain_accuracy(bank, queries, k, temperature):
    right = 0
    for query, label in zip(queries[0].tolist(), queries[1].tolist(), strict=True):
        pairs = zip(bank[0].tolist(), bank[1].tolist(), strict=True)
        near = sorted(((cosine(query, each), their) for each, their in pairs), reverse=True)[:k]
        votes = dict.fromkeys(range(3), 0.0)
        for similarity, their in near:
            votes[their] += math.exp(similarity / temperature)
        right += max(votes, key=votes.get) == label
    return 100 * right / len(queries[1])


@pytest.mark.parametrize('temperature', [0.07, 1.0])
def test_knn_accuracy__equals_plain_loops(temperature):
    bank, queries = features(50, 1), features(31, 2)
    found = knn_accuracy(bank, queries, (20, 5, 1), temperature)
    expected = {k: plain_accuracy(bank, queries, k, temperature) for k in (20, 5, 1)}
    assert found == pytest.approx(expected)
    assert len(set(found.values())) > 1 and 40 < found[20] < 100


def test_nearest__chunks_do_not_matter():
    bank, queries = features(50, 1)[0], features(31, 2)[0]
    cosines, places = nearest(bank, queries, 4)
    for chunk in (1, 7):
        values, indices = nearest(bank, queries, 4, chunk)
        torch.testing.assert_close(values, cosines)
        assert torch.equal(indices, places)
    assert torch.equal(nearest(3 * bank, queries / 5, 4)[1], places)


def test_vote__nearer_ones_count_more_at_low_temperature():
    cosines, labels = torch.tensor([[0.9, 0.6, 0.6]]), torch.tensor([[2, 1, 1]])
    torch.testing.assert_close(vote(cosines, labels, 4, 1e6), torch.tensor([[0, 2 / 3, 1 / 3, 0]]))
    assert vote(cosines, labels, 4, 0.07).argmax() == 2
    assert torch.isfinite(vote(cosines, labels, 4, 1e-4)).all()


def test_knn_accuracy__a_class_without_training_images_is_always_wrong():
    bank = features(20, 1)
    assert knn_accuracy(bank, (bank[0][:4], torch.full((4,), 3)), (1,)) == {1: 0.0}


@pytest.mark.parametrize('k', [0, 6])
def test_nearest__k_outside_the_bank(k):
    with pytest.raises(ValueError, match=f'k={k} neighbours of 5 training images'):
        nearest(torch.randn(5, 3), torch.randn(2, 3), k)


def test_knn_guesses__are_what_accuracy_counts():
    bank, queries = features(50, 1), features(31, 2)
    for k, guesses in knn_guesses(bank, queries[0], (7, 2)).items():
        right = sum(int(a) == int(b) for a, b in zip(guesses, queries[1], strict=True))
        assert knn_accuracy(bank, queries, (k,))[k] == pytest.approx(100 * right / 31)
