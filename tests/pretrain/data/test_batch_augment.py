"""Erasing, mixing and smoothing: what each does, alone."""

import pytest
import torch

from pretrain.data.batch_augment import BatchAugment

LABELS = torch.tensor([0, 3, 1, 2])


def constant_images(count=4):
    """Image i is i + 1 everywhere."""
    return (torch.arange(count) + 1.0).view(-1, 1, 1, 1).repeat(1, 3, 16, 24)


def test_none__leaves_images_and_makes_one_hot_targets():
    images, targets = BatchAugment(5)(constant_images(), LABELS)
    assert torch.equal(images, constant_images())
    assert targets.tolist() == [[float(n == label) for n in range(5)] for label in LABELS]


def test_label_smoothing__spreads_its_share():
    _, targets = BatchAugment(5, label_smoothing=0.1)(constant_images(), LABELS)
    for row, label in zip(targets, LABELS.tolist(), strict=True):
        expected = [0.1 / 5 + 0.9 * (n == label) for n in range(5)]
        assert row.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_mixup__images_and_targets_are_mixed_alike(smoothing):
    images, targets = BatchAugment(4, mixup=0.8, label_smoothing=smoothing)(constant_images(), LABELS)
    share = (images[0, 0, 0, 0].item() - 4) / (1 - 4)  # of image 0 (value 1) in the mix with image 3 (value 4)
    assert 0 < share < 1
    for i, j in ((0, 3), (1, 2), (2, 1), (3, 0)):
        value = share * (i + 1) + (1 - share) * (j + 1)
        torch.testing.assert_close(images[i], torch.full((3, 16, 24), value))
        expected = [
            smoothing / 4 + (1 - smoothing) * (share * (LABELS[i] == n).item() + (1 - share) * (LABELS[j] == n).item())
            for n in range(4)
        ]
        assert targets[i].tolist() == pytest.approx(expected, abs=1e-6)


def test_cutmix__targets_tell_the_pasted_area():
    images, targets = BatchAugment(4, cutmix=1.0)(constant_images(), LABELS)
    pasted = (images[0, 0] == 4).double().mean().item()
    assert 0 < pasted < 1
    assert set(images[0].unique().tolist()) == {1.0, 4.0}
    assert targets[0].tolist() == pytest.approx([1 - pasted, 0, pasted, 0], abs=1e-6)


def test_mixup_and_cutmix__take_turns():
    augment = BatchAugment(4, mixup=0.8, cutmix=1.0)
    pasted = [set(augment(constant_images(), LABELS)[0][0].unique().tolist()) <= {1.0, 4.0} for _ in range(40)]
    assert 8 <= sum(pasted) <= 32


def test_odd_batch__last_sample_stays():
    images, targets = BatchAugment(4, mixup=0.8, label_smoothing=0.2)(constant_images(3), LABELS[:3])
    assert torch.equal(images[2], constant_images(3)[2])
    assert targets[2].tolist() == pytest.approx([0.05, 0.85, 0.05, 0.05])
    assert not torch.equal(images[0], constant_images(3)[0])
    alone, _ = BatchAugment(4, mixup=0.8)(constant_images(1), LABELS[:1])
    assert torch.equal(alone, constant_images(1))


def test_erasing__replaces_a_rectangle_of_some_images():
    images, targets = BatchAugment(4, erasing=0.25)(torch.zeros(64, 3, 32, 32), torch.zeros(64, dtype=torch.long))
    erased = [image for image in images if image.any()]
    assert 6 <= len(erased) <= 28
    for image in erased:
        rows, columns = image.any(0).any(1).nonzero(), image.any(0).any(0).nonzero()
        box = image[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert box.ne(0).all()
        # Noise per pixel and channel, of deviation one.
        assert 0.5 < box.std() < 1.5
    assert torch.equal(targets, torch.eye(4)[[0] * 64])


def test_seed__pytorchs_decides():
    augment, results = BatchAugment(4, 0.8, 1.0, 0.1, 0.5), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(augment(constant_images(), LABELS))
    assert all(torch.equal(a, b) for a, b in zip(results[0], results[1], strict=True))
    assert not torch.equal(results[0][0], results[2][0])


@pytest.mark.parametrize('wrong', [dict(mixup=-1), dict(label_smoothing=1.0), dict(erasing=1.5)])
def test_values__out_of_range(wrong):
    with pytest.raises(ValueError, match=f'{next(iter(wrong))}={next(iter(wrong.values()))}'):
        BatchAugment(4, **wrong)
