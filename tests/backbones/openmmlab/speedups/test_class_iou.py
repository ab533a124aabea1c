"""Figures of each class from mmseg's IoUMetric, against a loop over pixels."""

import math

import pytest
import torch
from mmseg.evaluation.metrics.iou_metric import IoUMetric
from mmseg.registry import METRICS

CLASSES = ('wall', 'a b', 'never')


def evaluated(metric):
    """Two drawn images of three classes, the last of which is nowhere; 255 is ignored."""
    generator = torch.Generator().manual_seed(0)
    pairs = [torch.randint(2, (2, 5, 7), generator=generator) for _ in range(2)]
    pairs[0][0, :2] = 255
    metric.dataset_meta = {'classes': CLASSES}
    for truth, guess in pairs:
        metric.process({}, [{'pred_sem_seg': {'data': guess[None]}, 'gt_sem_seg': {'data': truth[None]}}])
    return metric.evaluate(size=len(pairs)), pairs


def counted(pairs, label):
    """IoU and accuracy of a class in percent, pixel by pixel."""
    both = either = own = 0
    for truth, guess in pairs:
        for wanted, seen in zip(truth.flatten().tolist(), guess.flatten().tolist(), strict=True):
            if wanted != 255:
                both += wanted == seen == label
                either += label in (wanted, seen)
                own += wanted == label
    return 100 * both / either, 100 * both / own


def test_class_iou__each_class_beside_the_means():
    metric = METRICS.build(dict(type='ClassIoUMetric', iou_metrics=['mIoU']))
    assert isinstance(metric, IoUMetric)
    figures, pairs = evaluated(metric)
    means, _ = evaluated(IoUMetric(iou_metrics=['mIoU']))
    assert {name: figures[name] for name in means} == means
    for label, name in enumerate(CLASSES[:2]):
        iou, accuracy = counted(pairs, label)
        assert figures[f'IoU_{name}'] == pytest.approx(iou, abs=0.006)
        assert figures[f'Acc_{name}'] == pytest.approx(accuracy, abs=0.006)
    assert math.isnan(figures['IoU_never']) and len(figures) == len(means) + 2 * len(CLASSES)


def test_class_iou__other_figures_have_theirs():
    figures, _ = evaluated(METRICS.build(dict(type='ClassIoUMetric', iou_metrics=['mFscore'])))
    kinds = {name.rpartition('_')[0] for name in figures if name.endswith('_wall')}
    assert kinds == {'Fscore', 'Precision', 'Recall'}


def test_class_iou__predictions_alone_have_no_figures(tmp_path):
    metric = METRICS.build(dict(type='ClassIoUMetric', format_only=True, output_dir=str(tmp_path)))
    metric.dataset_meta = {'classes': CLASSES}
    metric.process({}, [{'pred_sem_seg': {'data': torch.zeros(1, 2, 2, dtype=torch.int64)}, 'img_path': 'x.jpg'}])
    assert metric.evaluate(size=1) == {} and (tmp_path / 'x.png').exists()
