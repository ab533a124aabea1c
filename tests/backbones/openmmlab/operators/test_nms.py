"""Suppression through mmcv's public functions against plain loops in float32."""

import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, nms, nms_match, soft_nms

from tests.backbones.openmmlab.operators import loops


def random_boxes(count, seed, step=None):
    """Overlapping boxes with distinct scores; with a step, coordinates on a grid, so that IoUs tie."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=generator) * 60
    boxes = torch.cat([low, low + 4 + torch.rand(count, 2, generator=generator) * 40], 1)
    if step:
        boxes = (boxes / step).round() * step
    return boxes, torch.randperm(count, generator=generator).float() / count + 0.001


@pytest.mark.parametrize('offset', (0, 1))
@pytest.mark.parametrize('threshold', (0.1, 0.3, 0.5, 0.7))
@pytest.mark.parametrize('step', (None, 1, 4))
def test_nms__as_the_loop(offset, threshold, step):
    boxes, scores = random_boxes(150, seed=int(threshold * 10), step=step)
    dets, kept = nms(boxes, scores, threshold, offset)
    expected = loops.nms(boxes.numpy(), scores.numpy(), threshold, offset)
    assert kept.tolist() == expected
    assert 1 < len(kept) < 150
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[expected])


def test_nms__threshold_is_rounded_to_float32():
    # IoU 3 / 10 in float32 lies above the double 0.3 and equals the float32 0.3: not suppressed
    boxes = torch.tensor([[0.0, 0, 10, 1], [0, 0, 3, 1]])
    assert float(np.float32(0.3)) > 0.3
    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.3)[1].tolist() == [0, 1]
    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.29999)[1].tolist() == [0]
    # with the offset widths are 11 and 4, heights 2; 4 / 11 again equals the rounded threshold
    assert nms(boxes, torch.tensor([0.9, 0.8]), 4 / 11, 1)[1].tolist() == [0, 1]
    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.3636, 1)[1].tolist() == [0]


def test_nms__offset_is_added_to_the_difference():
    boxes = torch.tensor([[27.7, 27.4, 37.4, 32.9], [28.8, 27.5, 34.4, 31.4]])
    threshold = float(loops.iou(*boxes.numpy(), offset=1))
    # adding it to x2, y2 beforehand rounds to another IoU
    assert loops.iou(*(boxes + torch.tensor([0, 0, 1, 1])).numpy()) > threshold
    assert nms(boxes, torch.tensor([0.9, 0.8]), threshold, 1)[1].tolist() == [0, 1]


def test_nms__more_boxes_than_a_block_with_offset():
    boxes, scores = random_boxes(2500, seed=5)
    boxes = boxes * 6
    alive, expected = torch.ones(2500, dtype=torch.bool), []
    for i in scores.argsort(descending=True).tolist():
        if alive[i]:
            expected.append(i)
            low, high = torch.maximum(boxes[i, :2], boxes[:, :2]), torch.minimum(boxes[i, 2:], boxes[:, 2:])
            common = (high - low + 1).clamp(min=0).prod(1)
            areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
            alive &= common / (areas + areas[i] - common) <= 0.4
    kept = nms(boxes, scores, 0.4, 1)[1].tolist()
    assert len(kept) > 100
    assert kept == expected


def test_nms__score_threshold_and_max_num():
    boxes, scores = random_boxes(80, seed=1)
    above = [i for i in range(80) if scores[i] > 0.4]
    inner = loops.nms(boxes[above].numpy(), scores[above].numpy(), 0.5)
    assert nms(boxes, scores, 0.5, score_threshold=0.4, max_num=7)[1].tolist() == [above[i] for i in inner][:7]


def test_nms__boxes_without_area_survive():
    boxes = torch.tensor([[5.0, 5, 5, 9], [5, 5, 5, 9], [0, 0, 4, 4], [0, 0, 4, 4]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    assert nms(boxes, scores, 0.5)[1].tolist() == [0, 1, 2]


@pytest.mark.parametrize('offset', (0, 1))
def test_nms__equal_scores_keep_as_many(offset):
    boxes, _ = random_boxes(60, seed=2, step=8)
    # none without area: those survive twice
    boxes[:, 2:] += 8
    boxes = boxes.repeat(2, 1)
    kept = nms(boxes, torch.full((120,), 0.5), 0.999, offset)[1]
    assert len(kept) == len(boxes.unique(dim=0))


@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16, torch.float64))
def test_nms__other_precisions(dtype):
    boxes, scores = random_boxes(60, seed=4)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    scores[scores.float().argsort()] = (torch.arange(60) / 64).to(dtype)
    dets, kept = nms(boxes, scores, 0.5)
    assert dets.dtype == dtype
    assert kept.tolist() == loops.nms(boxes.float().numpy(), scores.float().numpy(), 0.5)


@pytest.mark.parametrize('offset', (0, 1))
def test_nms__empty(offset):
    dets, kept = nms(torch.zeros(0, 4), torch.zeros(0), 0.5, offset)
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.long


def test_nms__numpy_in_numpy_out():
    boxes, scores = random_boxes(40, seed=6)
    dets, kept = nms(boxes.numpy(), scores.numpy(), 0.5)
    assert kept.tolist() == loops.nms(boxes.numpy(), scores.numpy(), 0.5)
    np.testing.assert_array_equal(dets[:, :4], boxes.numpy()[kept])


@pytest.mark.parametrize('split_thr', (10000, 50))
@pytest.mark.parametrize('offset', (0, 1))
def test_batched_nms__classes_do_not_touch(split_thr, offset):
    boxes, scores = random_boxes(120, seed=7, step=1)
    labels = torch.arange(120) % 3
    config = dict(type='nms', iou_threshold=0.4, offset=offset, split_thr=split_thr)
    dets, kept = batched_nms(boxes, scores, labels, config)
    expected = []
    for label in range(3):
        own = (labels == label).nonzero()[:, 0].tolist()
        # the shift that batched_nms applies to a class is part of its float32 arithmetic
        shifted = boxes[own] + label * (boxes.max() + 1)
        expected += [own[i] for i in loops.nms(shifted.numpy(), scores[own].numpy(), 0.4, offset)]
    expected.sort(key=lambda i: -scores[i])
    assert kept.tolist() == expected
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[kept])


def test_batched_nms__class_agnostic_and_soft():
    boxes, scores = random_boxes(70, seed=8)
    labels = torch.arange(70) % 2
    kept = batched_nms(boxes, scores, labels, dict(type='nms', iou_threshold=0.4), class_agnostic=True)[1]
    assert kept.tolist() == loops.nms(boxes.numpy(), scores.numpy(), 0.4)
    config = dict(type='soft_nms', iou_threshold=0.4, min_score=0.05, class_agnostic=True)
    dets, kept = batched_nms(boxes, scores, labels, config)
    expected = loops.soft_nms(boxes.numpy(), scores.numpy(), 0.4, 0.5, 0.05, 'linear')
    assert kept.tolist() == [i for i, _ in expected]
    torch.testing.assert_close(dets[:, 4], torch.tensor([float(s) for _, s in expected]), rtol=1e-6, atol=0)


@pytest.mark.parametrize('method', ('naive', 'linear', 'gaussian'))
@pytest.mark.parametrize('offset', (0, 1))
@pytest.mark.parametrize('min_score', (0.001, 0.2))
def test_soft_nms__as_the_loop(method, offset, min_score):
    boxes, scores = random_boxes(90, seed=9)
    dets, kept = soft_nms(boxes, scores, 0.3, 0.5, min_score, method, offset)
    expected = loops.soft_nms(boxes.numpy(), scores.numpy(), 0.3, 0.5, min_score, method, offset)
    assert 1 < len(expected) < 90
    assert kept.tolist() == [i for i, _ in expected]
    assert torch.equal(dets[:, :4], boxes[kept])
    # exp differs between libraries in the last bit, and up to 90 factors are multiplied
    torch.testing.assert_close(dets[:, 4], torch.tensor([float(s) for _, s in expected]), rtol=1e-5, atol=0)


def test_soft_nms__dropped_boxes_are_replaced_by_the_last():
    # all scores tie after the first choice, so the order shows where compiled mmcv moves boxes:
    # 0 is chosen, 1 and 3 fall; 5 moves to the place of 1, 4 to the place of 3
    far = [[100.0 * i, 0, 100.0 * i + 10, 10] for i in range(6)]
    far[1] = far[3] = far[0]
    scores = torch.tensor([0.9, 0.5, 0.5, 0.5, 0.5, 0.5])
    kept = soft_nms(torch.tensor(far), scores, 0.3, method='naive')[1]
    assert kept.tolist() == [0, 5, 2, 4]


def test_soft_nms__boxes_without_area():
    # 0 / 0 overlap: the Gaussian makes the score not-a-number, which is neither dropped nor chosen before others
    boxes = torch.tensor([[5.0, 5, 5, 9], [5, 5, 5, 9], [0, 0, 4, 4]])
    dets, kept = soft_nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.3, method='gaussian')
    assert kept.tolist() == [0, 1, 2]
    assert dets[:, 4].isnan().tolist() == [False, True, False]
    assert soft_nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.3, method='linear')[1].tolist() == [0, 1, 2]


def test_soft_nms__empty_and_bfloat16():
    assert soft_nms(torch.zeros(0, 4), torch.zeros(0))[0].shape == (0, 5)
    boxes, scores = random_boxes(30, seed=10)
    boxes, scores = boxes.bfloat16(), scores.bfloat16()
    dets, kept = soft_nms(boxes, scores, 0.3, method='linear')
    expected = loops.soft_nms(boxes.float().numpy(), scores.float().numpy(), 0.3, 0.5, 0.001, 'linear')
    assert dets.dtype == torch.bfloat16
    assert kept.tolist() == [i for i, _ in expected]


@pytest.mark.parametrize('step', (None, 4))
def test_nms_match__as_the_loop(step):
    boxes, scores = random_boxes(100, seed=11, step=step)
    groups = nms_match(torch.cat([boxes, scores[:, None]], 1), 0.3)
    assert [g.tolist() for g in groups] == loops.nms_match(boxes.numpy(), scores.numpy(), 0.3)
    assert max(len(g) for g in groups) > 2


def test_nms_match__threshold_itself_matches_and_empty():
    dets = torch.tensor([[0.0, 0, 10, 1, 0.9], [0, 0, 3, 1, 0.8]])
    assert [g.tolist() for g in nms_match(dets, 0.3)] == [[0, 1]]
    assert nms_match(torch.zeros(0, 5), 0.3) == []
