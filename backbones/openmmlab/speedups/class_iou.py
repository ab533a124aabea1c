"""mmseg's IoUMetric with figures of each class, for configs with ``type='ClassIoUMetric'``."""

from typing import Any


class ClassFigures:
    """mmseg's IoUMetric with additional figures for each class: ``IoU_NAME``, ``Acc_NAME``.

    mmseg only prints these in a table, which programs cannot read. NaN means that the class occurs in no image.
    """

    dataset_meta: dict[str, Any]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute mmseg's figures of all results, then those of each class, in percent."""
        upstream: Any = super()
        self._of_classes: dict[str, Any] = {}
        figures = dict(upstream.compute_metrics(results))
        for kind, values in self._of_classes.items():
            for name, value in zip(self.dataset_meta['classes'], values, strict=True):
                figures[f'{kind}_{name}'] = round(100 * float(value), 2)
        return figures

    def total_area_to_metrics(self, *areas: Any, **settings: Any) -> dict[str, Any]:
        """Keep mmseg's figures per class before it averages them over the classes."""
        upstream: Any = super()
        found = upstream.total_area_to_metrics(*areas, **settings)
        self._of_classes = {kind: values for kind, values in found.items() if kind != 'aAcc'}
        return found
