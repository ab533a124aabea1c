"""Figures of perfect predictions: 1, whatever the ids, and however many objects an image holds."""

import contextlib
import io

import pytest
from pycocotools.coco import COCO

from backbones.openmmlab.speedups.coco_eval import FastCOCOeval


def truth(count, first_id=1, step=1):
    """An image with ``count`` objects of one class in a row."""
    annotations = [
        dict(
            id=first_id + step * i,
            image_id=0,
            category_id=0,
            bbox=[8 * i, 0, 6, 6],
            area=36,
            iscrowd=0,
            segmentation=[[8 * i, 0, 8 * i + 6, 0, 8 * i + 6, 6, 8 * i, 6]],
        )
        for i in range(count)
    ]
    index = COCO()
    index.dataset = dict(
        images=[dict(id=0, width=8 * count, height=8)], annotations=annotations, categories=[dict(id=0, name='cell')]
    )
    with contextlib.redirect_stdout(io.StringIO()):
        index.createIndex()
    return index


def stats(index, kind, found):
    predicted = [
        dict(image_id=0, category_id=0, bbox=each['bbox'], segmentation=each['segmentation'], score=1.0 - 1e-4 * i)
        for i, each in enumerate(index.dataset['annotations'][:found])
    ]
    if kind == 'segm':
        for each in predicted:
            del each['bbox']
            each['segmentation'] = index.annToRLE(dict(each))
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = FastCOCOeval(index, index.loadRes(predicted), kind)
        evaluation.params.maxDets = [100, 300, 1000]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
@pytest.mark.parametrize('ids', [dict(first_id=0), dict(first_id=5, step=0)], ids=['from 0', 'repeated'])
def test_fast_coco_eval__objects_count_whatever_their_ids(kind, ids):
    index = truth(3, **ids)
    before = [each['id'] for each in index.dataset['annotations']]
    found = stats(index, kind, 3)
    assert found[0] == found[1] == 1.0
    assert [each['id'] for each in index.dataset['annotations']] == before


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
def test_fast_coco_eval__crowded_images_are_counted_whole(kind):
    assert stats(truth(150), kind, 150)[0] == 1.0
    assert stats(truth(150), kind, 120)[0] == pytest.approx(0.8, abs=0.01)
    # Up to 100 objects the figure is pycocotools'.
    assert stats(truth(100), kind, 80)[0] == pytest.approx(0.8, abs=0.01)
