"""Table of repairs for OpenMMLab on current PyTorch, Python and setuptools, applied where a defect is present."""

import functools
import logging
from collections.abc import Callable, Sequence

from backbones.openmmlab.mmcv_version import repair_version_check
from backbones.openmmlab.repairs.mmengine.checkpoints import (
    repair_resumed_histories,
    repair_saved_objects,
    repair_unsafe_loading,
)
from backbones.openmmlab.repairs.mmengine.distributed import (
    repair_init_without_gpu,
    repair_sync_norm_on_cpu,
    repair_wrapper_on_cpu,
)
from backbones.openmmlab.repairs.mmengine.packages import repair_find_loader, repair_package_lookup
from backbones.openmmlab.repairs.mmengine.precision import (
    repair_amp_on_cpu,
    repair_reduced_predictions,
    repair_rounded_rois,
)
from backbones.openmmlab.repairs.mmengine.sharded import SHARDED_REPAIRS
from backbones.openmmlab.repairs.mmseg import repair_stretched_segmentation
from backbones.openmmlab.repairs.torch import repair_spawned_workers

# Each returns whether it acted.
Repair = Callable[[], bool]

REPAIRS: tuple[Repair, ...] = (
    repair_version_check,
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
    repair_stretched_segmentation,
)

_applied: list[str] = []


@functools.cache
def apply_repairs(repairs: Sequence[Repair] = REPAIRS) -> None:
    """Apply the repairs whose defect is present; a second call does nothing."""
    for repair in repairs:
        if acts(repair):
            _applied.append(repair.__name__.removeprefix('repair_').replace('_', ' '))


def acts(repair: Repair) -> bool:
    """Run one repair; skip it with a warning if it was written for another version of the package."""
    try:
        return repair()
    # A private name is gone or works differently now.
    except (AttributeError, TypeError) as error:
        logging.getLogger(__name__).warning('%s does not fit the installed packages: %s', repair.__name__, error)
        return False


def repair_sharded_runs() -> None:
    """Repair how mmengine's Runner handles sharded models; called when such a model is made."""
    apply_repairs(SHARDED_REPAIRS)


def applied_repairs() -> tuple[str, ...]:
    """Names of the repairs that acted in this process, or will act once their package is imported."""
    return tuple(_applied)
