"""Defects of OpenMMLab on current PyTorch, Python and setuptools, each repaired where it is present."""

import functools

from backbones.openmmlab.repairs_checkpoints import (
    repair_resumed_histories,
    repair_saved_objects,
    repair_unsafe_loading,
)
from backbones.openmmlab.repairs_coco import repair_slow_coco_eval
from backbones.openmmlab.repairs_distributed import (
    repair_init_without_gpu,
    repair_sync_norm_on_cpu,
    repair_wrapper_on_cpu,
)
from backbones.openmmlab.repairs_packages import repair_find_loader, repair_package_lookup
from backbones.openmmlab.repairs_precision import repair_amp_on_cpu, repair_reduced_predictions, repair_rounded_rois
from backbones.openmmlab.repairs_sharded import (
    repair_sharded_resuming,
    repair_sharded_saving,
    repair_sharded_start,
)
from backbones.openmmlab.repairs_slide import repair_slide_inference
from backbones.openmmlab.repairs_stretching import repair_stretched_segmentation
from backbones.openmmlab.repairs_uper import repair_upsampled_fusion
from backbones.openmmlab.repairs_workers import repair_spawned_workers

REPAIRS = (
    repair_find_loader,
    repair_package_lookup,
    repair_saved_objects,
    repair_resumed_histories,
    repair_unsafe_loading,
    repair_init_without_gpu,
    repair_wrapper_on_cpu,
    repair_sync_norm_on_cpu,
    repair_amp_on_cpu,
    repair_rounded_rois,
    repair_reduced_predictions,
    repair_spawned_workers,
    repair_sharded_saving,
    repair_sharded_resuming,
    repair_sharded_start,
    repair_slide_inference,
    repair_stretched_segmentation,
    repair_upsampled_fusion,
    repair_slow_coco_eval,
)


@functools.cache
def apply_repairs() -> None:
    """Repair what is broken; a second call does nothing."""
    for repair in REPAIRS:
        repair()
