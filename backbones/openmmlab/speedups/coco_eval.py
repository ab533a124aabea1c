"""pycocotools' evaluation with its two slow steps in C++, through faster-coco-eval."""

import contextlib
import copy
import os
from collections import Counter
from typing import Any

from faster_coco_eval import COCOeval_faster
from pycocotools.cocoeval import COCOeval

# pycocotools computes its first figure from this many detections per image and class.
COUNTED = 100


class FastCOCOeval(COCOeval_faster):
    """`pycocotools.cocoeval.COCOeval` for boxes and masks: same arguments, ``params``, ``eval`` and ``stats``.

    ``evalImgs``, the matches of each image, stays empty. Figures differ where pycocotools is wrong. An object with id 0
    counts like any other; pycocotools takes it for 'no match' (cocoapi#507). If an image holds more than 100 objects of
    a class, average precision uses all detections, as the other figures do, not 100.
    """

    def __init__(self, cocoGt: Any = None, cocoDt: Any = None, *args: Any, **settings: Any) -> None:  # noqa: N803
        super().__init__(with_own_ids(cocoGt), cocoDt, *args, **settings)

    def summarize(self) -> None:
        """Compute and print ``stats``."""
        # With mmdet's 100, 300 and 1000 detections per image, pycocotools computes the first figure at 100,
        # faster-coco-eval at 1000.
        COCOeval.summarize(self)
        most = self._most_objects()
        if self.params.useCats and most > COUNTED:
            precision = self.eval['precision'][:, :, :, 0, -1]
            self.stats[0] = precision[precision > -1].mean()
            print(
                f' An image holds {most} objects of a class: average precision of {self.params.maxDets[-1]} detections '
                f'in place of {COUNTED}: {self.stats[0]:0.3f}'
            )

    def _most_objects(self) -> int:
        """Largest number of objects of one class in an image."""
        truth = self.cocoGt.loadAnns(self.cocoGt.getAnnIds(imgIds=self.params.imgIds, catIds=self.params.catIds))
        places = Counter((each['image_id'], each['category_id']) for each in truth if not each.get('iscrowd'))
        return max(places.values(), default=0)


def with_own_ids(truth: Any) -> Any:
    """Return a COCO index with unique annotation ids from 1 up: the given one if it has them, else a copy."""
    annotations = truth.dataset.get('annotations', []) if truth is not None else []
    ids = [each.get('id') for each in annotations]
    if len(set(ids)) == len(ids) and all(isinstance(value, int) and value > 0 for value in ids):
        return truth
    numbered = copy.copy(truth)
    rows = [{**each, 'id': index + 1} for index, each in enumerate(annotations)]
    numbered.dataset = {**truth.dataset, 'annotations': rows}
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
        numbered.createIndex()
    return numbered
