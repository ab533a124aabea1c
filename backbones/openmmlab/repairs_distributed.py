"""Several processes on machines without a GPU."""

import functools
from collections.abc import Callable
from typing import Any

import mmengine.dist.utils as dist_utils
import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.runner import Runner
from torch import nn


def repair_init_without_gpu() -> None:
    """Start process groups on CPUs: mmengine asks for a GPU first, whatever the backend (no issue upstream).

    NCCL, its default backend, needs GPUs too: gloo takes its place.
    """
    if get_device() == 'cpu':
        for launcher in ('pytorch', 'slurm', 'mpi'):
            name = f'_init_dist_{launcher}'
            setattr(dist_utils, name, _without_gpu(getattr(dist_utils, name)))


def _without_gpu(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def init_dist(backend: str, **kwargs: Any) -> None:
        if backend == 'nccl':
            print_log('There is no GPU: the gloo backend is used instead of nccl', 'current')
            backend = 'gloo'
        set_device = torch.cuda.set_device
        torch.cuda.set_device = lambda device: None
        try:
            original(backend, **kwargs)
        finally:
            torch.cuda.set_device = set_device

    return init_dist


def repair_wrapper_on_cpu() -> None:
    """Wrap models that live on the CPU (no issue upstream).

    mmengine always names a GPU in ``device_ids``, which `DistributedDataParallel` refuses for such a model.
    """
    original = MMDistributedDataParallel.__init__

    @functools.wraps(original)
    def __init__(self: MMDistributedDataParallel, module: nn.Module, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        if all(parameter.device.type == 'cpu' for parameter in module.parameters()):
            kwargs.update(device_ids=None, output_device=None)
        original(self, module, *args, **kwargs)

    MMDistributedDataParallel.__init__ = __init__


def repair_sync_norm_on_cpu() -> None:
    """Run SyncBN models in several CPU processes as BN, as mmengine does in one process (no issue upstream).

    torch's SyncBN refuses tensors that are not on a GPU.
    """
    original = Runner.wrap_model

    @functools.wraps(original)
    def wrap_model(self: Runner, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        if get_device() == 'cpu':
            model = revert_sync_batchnorm(model)
        return original(self, model_wrapper_cfg, model)

    Runner.wrap_model = wrap_model
