"""pycocotools' evaluation with its two slow steps in C++, by faster-coco-eval."""

import contextlib
import copy
import os
from collections import Counter
from typing import Any

from faster_coco_eval import COCOeval_faster
from pycocotools.cocoeval import COCOeval

# pycocotools' first figure is of this many detections per image and class.
COUNTED = 100


class FastCOCOeval(COCOeval_faster):
    """`pycocotools.cocoeval.COCOeval` for boxes and masks: same arguments, ``params``, ``eval`` and ``stats``.

    ``evalImgs``, the matches image by image, stays empty. Figures differ where pycocotools' are wrong: an object with
    id 0, which it takes for 'no match' (cocoapi#507), counts as any other; and where an image holds more than 100
    objects of a class, the average precision is that of all detections, as the other figures are, not of 100.
    """

    def __init__(self, cocoGt: Any = None, cocoDt: Any = None, *args: Any, **settings: Any) -> None:  # noqa: N803
        super().__init__(with_own_ids(cocoGt), cocoDt, *args, **settings)

    def summarize(self) -> None:
        """Compute and print ``stats``."""
        # With mmdet's 100, 300 and 1000 detections an image pycocotools takes the first figure at 100, the library at
        # 1000.
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
        """Objects of one class in the image that has most."""
        truth = self.cocoGt.loadAnns(self.cocoGt.getAnnIds(imgIds=self.params.imgIds, catIds=self.params.catIds))
        places = Counter((each['image_id'], each['category_id']) for each in truth if not each.get('iscrowd'))
        return max(places.values(), default=0)


def with_own_ids(truth: Any) -> Any:
    """A COCO index whose annotations have ids of their own, from 1: the same one where they do, else a copy."""
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
