"""COCO evaluation through faster-coco-eval against pycocotools, within mmdet's metric."""

import json

import numpy as np
import pytest
from mmdet.evaluation.metrics import CocoMetric
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import encode

from backbones.openmmlab.speedups.by_name import FastCocoMetric
from backbones.openmmlab.speedups.coco_eval import FastCOCOeval

HEIGHT, WIDTH, IMAGES, CLASSES = 40, 56, 14, 3


def mask_of(rng, box):
    x, y, w, h = (int(value) for value in box)
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[y : y + h, x : x + w] = rng.random((h, w)) < 0.9
    return mask


def draw_box(rng):
    size = rng.integers(3, (30, 24))
    return np.array([*rng.integers(0, (WIDTH, HEIGHT) - size), *size])


def annotation(rng, number, image):
    box = draw_box(rng)
    shape = encode(np.asfortranarray(mask_of(rng, box)))
    # Areas of COCO's three kinds, whatever the box.
    area = float(rng.choice([200.0, 4000.0, 20000.0]))
    found = dict(id=number, image_id=image, category_id=int(rng.integers(1, CLASSES + 1)), bbox=box.tolist(), area=area)
    return found | dict(iscrowd=int(rng.random() < 0.2), segmentation={**shape, 'counts': shape['counts'].decode()})


def detection(rng, near):
    """A box near an object or anywhere, its mask, a score of few values (ties) and a class."""
    box, label = draw_box(rng), int(rng.integers(CLASSES))
    if near and rng.random() < 0.6:
        found = near[rng.integers(len(near))]
        box, label = np.array(found['bbox']) + rng.integers(-1, 2, 4), found['category_id'] - 1
        box = np.maximum(box, [0, 0, 2, 2])
        box[2:] = np.minimum(box[2:], (WIDTH, HEIGHT) - box[:2])
    return box, mask_of(rng, box), rng.integers(1, 20) / 20, label


def result(rng, image, near, count):
    found = [detection(rng, near) for _ in range(count)]
    boxes = np.array([box for box, *_ in found], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return dict(
        img_id=image,
        bboxes=boxes,
        scores=np.array([score for *_, score, _ in found]),
        labels=np.array([label for *_, label in found], dtype=np.int64),
        masks=[encode(np.asfortranarray(mask)) for _, mask, _, _ in found],
    )


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """Annotations (some images have none, the first crowds) and results (some images have none, one has 130)."""
    rng = np.random.default_rng(0)
    objects = []
    for image in range(1, IMAGES + 1):
        for _ in range(0 if image % 5 == 0 else int(rng.integers(1, 9))):
            objects.append(annotation(rng, len(objects) + 1, image))
    content = dict(
        images=[dict(id=image, height=HEIGHT, width=WIDTH) for image in range(1, IMAGES + 1)],
        annotations=objects,
        categories=[dict(id=label + 1, name='abc'[label]) for label in range(CLASSES)],
    )
    assert 3 < sum(each['iscrowd'] for each in objects) < len(objects) / 2
    file = tmp_path_factory.mktemp('coco') / 'truth.json'
    file.write_text(json.dumps(content))
    results = []
    for image in range(1, IMAGES + 1):
        near = [each for each in objects if each['image_id'] == image]
        count = 130 if image == 2 else 0 if image % 4 == 0 else 25
        results.append(({}, result(rng, image, near, count)))
    return file, results


METRICS = {CocoMetric: COCOeval, FastCocoMetric: FastCOCOeval}


def evaluate(drawn, kind, monkeypatch, **settings):
    """A metric's figures, and unrounded ones beside them."""
    file, results = drawn
    stats, summarize = {}, METRICS[kind].summarize

    def kept(self):
        summarize(self)
        stats[self.params.iouType] = np.array(self.stats)
        stats[f'{self.params.iouType} precision'] = self.eval['precision']
        stats[f'{self.params.iouType} recall'] = self.eval['recall']

    metric = kind(ann_file=str(file), **settings)
    metric.dataset_meta = dict(classes=tuple('abc'))
    with monkeypatch.context() as patch:
        patch.setattr(METRICS[kind], 'summarize', kept)
        return metric.compute_metrics(results), stats


SETTINGS = {
    'boxes and masks': dict(metric=['bbox', 'segm']),
    'proposals': dict(metric='proposal'),
    'few': dict(metric=['bbox', 'segm'], proposal_nums=(1, 10, 100), iou_thrs=np.array([0.5, 0.75])),
}


@pytest.mark.parametrize('case', sorted(SETTINGS))
def test_metric__figures_of_pycocotools(case, drawn, monkeypatch):
    expected, raw = evaluate(drawn, CocoMetric, monkeypatch, **SETTINGS[case])
    figures, fast = evaluate(drawn, FastCocoMetric, monkeypatch, **SETTINGS[case])
    assert figures == pytest.approx(expected, nan_ok=True)
    assert list(figures) == list(expected)
    assert set(fast) == set(raw) and raw
    for name, values in raw.items():
        assert np.abs(fast[name] - values).max() < 1e-12, name
        assert len(values) != 12 or len(set(values.round(6))) > 3


def test_metric__classes_of_boxes_and_masks_by_names_of_their_own(drawn, monkeypatch):
    expected = {
        f'{kind}_{name}' if name.endswith('_precision') else name: value
        for kind in ('bbox', 'segm')
        for name, value in evaluate(drawn, CocoMetric, monkeypatch, metric=kind, classwise=True)[0].items()
    }
    figures, _ = evaluate(drawn, FastCocoMetric, monkeypatch, metric=['bbox', 'segm'], classwise=True)
    assert figures == pytest.approx(expected, nan_ok=True) and list(figures) == list(expected)
    for name in 'abc':
        assert figures[f'bbox_{name}_precision'] != figures[f'segm_{name}_precision']


def test_metric__without_detections(drawn, monkeypatch):
    file, results = drawn
    empty = [(truth, result(np.random.default_rng(0), each['img_id'], [], 0)) for truth, each in results]
    assert evaluate((file, empty), CocoMetric, monkeypatch, metric=['bbox', 'segm'])[0] == {}
    figures, _ = evaluate((file, empty), FastCocoMetric, monkeypatch, metric=['bbox', 'segm'])
    assert figures == {f'{kind}_{name}': 0.0 for kind in ('bbox', 'segm') for name in ('mAP', 'mAP_50', 'mAP_75')}


def test_metric__keeps_the_matches_unless_asked_for_speed(drawn, monkeypatch):
    """Who reads pycocotools' matches image by image finds them: mmdet's metric runs on, whatever is imported."""
    kept = {}
    for kind, evaluation in METRICS.items():
        accumulate = evaluation.accumulate
        monkeypatch.setattr(
            evaluation,
            'accumulate',
            lambda self, p=None, *, own=accumulate: (kept.update({type(self): self.evalImgs}), own(self)),
        )
        evaluate(drawn, kind, monkeypatch, metric='bbox')
    matches = [each for each in kept[COCOeval] if each]
    assert sum((each['dtMatches'] > 0).sum() for each in matches) > 50
    assert not kept[FastCOCOeval]
