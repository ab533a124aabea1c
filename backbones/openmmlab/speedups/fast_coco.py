"""COCO evaluation in C++ where mmdet takes pycocotools' Python loops."""

from typing import Any

from backbones.openmmlab.views import with_names

AVERAGES = ('mAP', 'mAP_50', 'mAP_75')
NOTHING_FOUND = {'bbox': AVERAGES, 'segm': AVERAGES}


class FastEvaluation:
    """mmdet's CocoMetric, which matches detections with objects in C++ (mmdet#11776).

    Minutes of Python otherwise on COCO's 5,000 images. Boxes, masks and proposals; the annotations stay in pycocotools'
    hands, and so do ``use_mp_eval`` and ``proposal_fast``. Same figures; the matches image by image (``evalImgs``) are
    not kept: take CocoMetric to read them.
    """

    metrics: list[str]
    classwise: bool
    format_only: bool

    def compute_metrics(self, results: list) -> dict[str, float]:
        """COCO's figures of all results; of each class as ``bbox_NAME_precision`` and ``segm_NAME_precision``.

        mmdet calls both ``NAME_precision``, so that the masks' figure takes the place of the boxes'. Where no image has
        a detection it gives no figure: the average precision is 0 then.
        """
        if self.classwise and not self.format_only:
            figures = self._class_by_class(results)
        else:
            figures = self._figures(results)
        if not self.format_only:
            for kind in NOTHING_FOUND.keys() & set(self.metrics):
                if not any(name.startswith(f'{kind}_') for name in figures):
                    figures |= {f'{kind}_{name}': 0.0 for name in NOTHING_FOUND[kind]}
        return figures

    def _figures(self, results: list) -> dict[str, float]:
        from backbones.openmmlab.speedups.coco_eval import FastCOCOeval

        upstream: Any = super().compute_metrics  # type: ignore[misc]
        return with_names(upstream.__func__, COCOeval=FastCOCOeval)(self, results)

    def _class_by_class(self, results: list) -> dict[str, float]:
        """One kind after the other, the kind before the name of a class."""
        kinds, figures = self.metrics, {}
        try:
            for kind in kinds:
                self.metrics = [kind]
                for name, value in self._figures(results).items():
                    figures[f'{kind}_{name}' if name.endswith('_precision') else name] = value
        finally:
            self.metrics = kinds
        return figures
