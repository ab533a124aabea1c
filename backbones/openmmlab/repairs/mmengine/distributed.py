"""Make several processes work on machines without a GPU."""

import functools
from collections.abc import Callable
from typing import Any

import mmengine.dist.utils as dist_utils
import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.runner import Runner
from torch import distributed, nn

from backbones.openmmlab.views import View, with_names

LAUNCHERS = ('pytorch', 'slurm', 'mpi')


def _set_device(device: Any) -> None:
    """Choose a GPU if there is one."""
    if torch.cuda.is_available():
        torch.cuda.set_device(device)


def _init_process_group(backend: str, **kwargs: Any) -> None:
    """Start a process group, with gloo in place of NCCL if there is no GPU."""
    if backend == 'nccl' and not torch.cuda.is_available():
        print_log('There is no GPU: the gloo backend is used instead of nccl', 'current')
        backend = 'gloo'
    distributed.init_process_group(backend=backend, **kwargs)


def _without_gpu(original: Callable[..., None]) -> Callable[..., None]:
    """Change a function of mmengine that starts a process group, so that it needs no GPU."""
    seen = {
        'torch': View(torch, cuda=View(torch.cuda, set_device=_set_device)),
        'torch_dist': View(distributed, init_process_group=_init_process_group),
    }
    return functools.wraps(original)(with_names(original, **seen))


def repair_init_without_gpu() -> bool:
    """Start process groups on CPUs; mmengine sets a GPU first for every backend (no issue upstream).

    Its default backend, NCCL, needs GPUs too, so gloo replaces it.
    """
    names = [f'_init_dist_{launcher}' for launcher in LAUNCHERS if hasattr(dist_utils, f'_init_dist_{launcher}')]
    asking = [name for name in names if 'set_device' in getattr(dist_utils, name).__code__.co_names]
    if torch.cuda.is_available():
        return False
    for name in asking:
        setattr(dist_utils, name, _without_gpu(getattr(dist_utils, name)))
    return bool(asking)


def repair_wrapper_on_cpu() -> bool:
    """Wrap models that are on the CPU (no issue upstream).

    mmengine always names a GPU in ``device_ids``, which `DistributedDataParallel` refuses for such a model.
    """
    if torch.cuda.is_available():
        return False
    original = MMDistributedDataParallel.__init__

    @functools.wraps(original)
    def __init__(self: MMDistributedDataParallel, module: nn.Module, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        if all(parameter.device.type == 'cpu' for parameter in module.parameters()):
            kwargs.update(device_ids=None, output_device=None)
        original(self, module, *args, **kwargs)

    MMDistributedDataParallel.__init__ = __init__
    return True


def repair_sync_norm_on_cpu() -> bool:
    """Run SyncBN models in several CPU processes as BN, as mmengine does in one process (no issue upstream).

    torch's SyncBN refuses tensors that are not on a GPU.
    """
    if torch.cuda.is_available():
        return False
    original = Runner.wrap_model

    @functools.wraps(original)
    def wrap_model(self: Runner, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        if get_device() == 'cpu' and any(isinstance(part, nn.SyncBatchNorm) for part in model.modules()):
            self.logger.warning('SyncBatchNorm runs on GPUs only: each process normalises its own batch')
            model = revert_sync_batchnorm(model)
        return original(self, model_wrapper_cfg, model)

    Runner.wrap_model = wrap_model
    return True
