"""Let mmengine's Runner save sharded models as usual checkpoints, which load on any number of processes.

`backbones.engine.fsdp.ShardedModel` applies these repairs; other runs keep mmengine's own functions.
"""

import functools
from collections import OrderedDict
from typing import Any

import mmengine.runner.checkpoint as upstream
import torch
from mmengine.dist import is_main_process
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.utils import apply_to
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from backbones.openmmlab.repairs.rebind import rebind


def is_sharded(model: nn.Module) -> bool:
    """Whether each process holds only a part of the model's parameters."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole(value: Tensor) -> Tensor:
    """Gather a sharded tensor, which all processes must do together; other tensors stay as they are."""
    if not isinstance(value, DTensor):
        return value
    # A group of GPUs cannot gather parts that were moved to the CPU.
    part: Any = value.detach().to(value.device_mesh.device_type)
    return part.full_tensor()


def as_sharded(value: Any, model: Any) -> Any:
    """Shard a whole tensor like ``model``, in all processes; other tensors or shapes are returned as they are."""
    if not isinstance(model, DTensor) or isinstance(value, DTensor) or getattr(value, 'shape', None) != model.shape:
        return value
    return distribute_tensor(value.detach(), model.device_mesh, model.placements)


def holds_parts(content: Any) -> bool:
    """Whether a checkpoint contains sharded tensors."""
    if isinstance(content, dict):
        return any(map(holds_parts, content.values()))
    if isinstance(content, list | tuple):
        return any(map(holds_parts, content))
    return isinstance(content, DTensor)


def gathered(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Replace sharded tensors of a checkpoint: by whole ones on the CPU in the main process, by None in others."""

    def fetch(value: DTensor) -> Tensor | None:
        full = whole(value)
        return full.cpu() if is_main_process() else None

    content = apply_to(checkpoint, lambda value: isinstance(value, DTensor), fetch)
    for key, item in checkpoint.items():
        if isinstance(item, OrderedDict) and hasattr(item, '_metadata'):
            content[key]._metadata = item._metadata
    return content


def repair_sharded_saving() -> bool:
    """Save sharded models as one file of plain tensors (no issue upstream).

    mmengine's Runner saves in the main process only, which holds only its own part.
    """
    original = Runner.save_checkpoint
    on_this_process = getattr(original, '__wrapped__', None)
    if on_this_process is None:
        return False

    @functools.wraps(on_this_process)
    def save(self: Runner, *args: Any, **kwargs: Any) -> None:
        (on_this_process if is_sharded(self.model) else original)(self, *args, **kwargs)

    Runner.save_checkpoint = save
    write = upstream.save_checkpoint

    @functools.wraps(write)
    def save_checkpoint(checkpoint: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        if not holds_parts(checkpoint):
            write(checkpoint, *args, **kwargs)
            return
        content = gathered(checkpoint)
        if is_main_process():
            write(content, *args, **kwargs)

    rebind(write, save_checkpoint)
    return True


def repair_sharded_resuming() -> bool:
    """Resume optimizers of sharded models from states of whole tensors (no issue upstream)."""
    original = OptimWrapper.__init__

    @functools.wraps(original)
    def __init__(self: OptimWrapper, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        original(self, optimizer, *args, **kwargs)
        if any(isinstance(value, DTensor) for group in optimizer.param_groups for value in group['params']):
            optimizer.register_load_state_dict_pre_hook(_shard_states)

    OptimWrapper.__init__ = __init__
    return True


def _shard_states(optimizer: torch.optim.Optimizer, content: dict[str, Any]) -> dict[str, Any]:
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    indices = [index for group in content['param_groups'] for index in group['params']]
    owners = dict(zip(indices, parameters, strict=False))  # torch itself refuses different lengths
    states = {
        index: {key: as_sharded(value, owners.get(index)) for key, value in state.items()}
        for index, state in content['state'].items()
    }
    return {**content, 'state': states}


def repair_sharded_start() -> bool:
    """Leave the weights of sharded models alone when training starts (no issue upstream).

    mmengine would initialise them, and then overwrite every process's part with the first process's.
    """
    original = Runner._init_model_weights

    @functools.wraps(original)
    def init_model_weights(self: Runner) -> None:
        if not is_sharded(self.model):
            original(self)

    Runner._init_model_weights = init_model_weights
    return True


SHARDED_REPAIRS = (repair_sharded_saving, repair_sharded_resuming, repair_sharded_start)
