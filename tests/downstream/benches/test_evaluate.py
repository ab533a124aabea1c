"""The bench of COCO evaluation on few images."""

import numpy as np
import pytest
from pycocotools.mask import decode

from downstream.benches import evaluate
from downstream.benches.evaluate import BENCHES, FIGURES, draw, draw_mask, run_coco


def test_draw__what_it_says():
    content, detections = draw(40)
    again = draw(40)
    assert (content, detections) == again
    assert draw(40, seed=1)[1] != detections
    counts = np.bincount([each['image_id'] for each in detections], minlength=41)[1:]
    assert counts.min() >= 20 and counts.max() <= 100
    objects = np.bincount([each['image_id'] for each in content['annotations']], minlength=41)[1:]
    assert 5 < objects.mean() < 9
    assert {each['iscrowd'] for each in content['annotations']} == {0, 1}
    for each in content['annotations']:
        x, y, w, h = each['bbox']
        assert min(x, y) >= 0 and x + w <= 640 and y + h <= 480


def test_mask__ellipse_of_the_box():
    mask = decode(draw_mask(np.array([100.0, 50.0, 80.0, 40.0])))
    rows, columns = np.nonzero(mask)
    assert mask.shape == (480, 640)
    edges = [rows.min(), rows.max(), columns.min(), columns.max()]
    assert edges == pytest.approx([50, 90, 100, 180], abs=1)
    assert mask.sum() == pytest.approx(np.pi / 4 * 80 * 40, rel=0.05)


def test_run__figures_of_both():
    [(measured, detail)] = run_coco(12, seconds=0.0)
    assert measured > 0
    for kind in ('bbox', 'segm'):
        assert tuple(detail['ours'][kind]) == FIGURES
        assert detail['ours'][kind] == detail['peer'][kind]
        assert 0 < detail['peer'][kind]['AP'] < 1
    assert (detail['images'], detail['ours']['rounds'], detail['peer']['rounds']) == (12, 2, 2)


def test_run__other_figures_are_not_timed(monkeypatch):
    from backbones.openmmlab.speedups.coco_eval import FastCOCOeval

    original = FastCOCOeval.summarize

    def wrong(self):
        original(self)
        self.stats[3] += 1e-6

    monkeypatch.setattr(FastCOCOeval, 'summarize', wrong)
    monkeypatch.setattr(evaluate, 'alternate', None)
    with pytest.raises(RuntimeError, match='differ by 1e-06'):
        run_coco(3, seconds=0.0)


def test_benches__the_promised_row():
    [bench] = BENCHES
    [claim] = bench.claims
    assert (claim.work, claim.target) == ('COCO evaluation, 1,000 images with masks', '<= 0.35 x time')
