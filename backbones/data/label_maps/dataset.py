"""Images with label maps whose files have several suffixes; mmseg's data sets allow only one."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from backbones.data.label_maps.pairs import pair_files


@DATASETS.register_module()
class SegmentationPairs(BaseDataset):
    """Images and label maps paired by name, with any suffix; returns the same as mmseg's ``BaseSegDataset``.

    Args:
        data_prefix: directories ``img_path`` and ``seg_map_path``, searched at any depth.
        metainfo: ``classes`` and ``palette``.
        reduce_zero_label: whether label 0 is ignored and label n is class n - 1.
        pipeline: transforms.
        options: see mmengine's ``BaseDataset``.
    """

    def __init__(
        self,
        data_prefix: dict[str, str],
        metainfo: dict[str, Any],
        reduce_zero_label: bool = False,
        pipeline: Sequence[dict | Callable] = (),
        **options: Any,
    ) -> None:
        self.reduce_zero_label = reduce_zero_label
        told = {**metainfo, 'label_map': None, 'reduce_zero_label': reduce_zero_label}
        super().__init__(data_prefix=data_prefix, metainfo=told, pipeline=list(pipeline), **options)

    def load_data_list(self) -> list[dict]:
        """List the pairs in the order of the images' paths."""
        pairs, _ = pair_files(Path(self.data_prefix['img_path']), Path(self.data_prefix['seg_map_path']))
        return [
            dict(
                img_path=str(image),
                seg_map_path=str(mask),
                label_map=None,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for image, mask in pairs
        ]
