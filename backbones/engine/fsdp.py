"""Models sharded over all processes: parameters, gradients and optimizer state (FSDP2, arXiv 2304.11277).

A sharded parameter is a `DTensor` under its old name. Optimizer constructors, clipping and the EMA therefore work as in
one process; `backbones.openmmlab.repairs.mmengine.sharded` makes mmengine write and read the usual checkpoints.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import broadcast, get_world_size
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from backbones.openmmlab.repairs.mmengine.sharded import as_sharded, whole
from backbones.openmmlab.repairs.table import repair_sharded_runs
from backbones.vit.layers import Attention, Mlp


@MODEL_WRAPPERS.register_module()
class ShardedModel(nn.Module):
    """Give each process a part of every parameter, and whole layers only while they compute.

    Attention and MLP of each transformer block are gathered separately, the rest (norms, embeddings, heads) at the
    start. Evaluation runs on a whole copy of the model, which exists from `eval` to `train`, so that processes may have
    different numbers of batches. All processes must make both calls.

    Args:
        module: an mmengine model with our blocks; it is initialised here, before it is sharded.
        param_dtype: 'bfloat16' gathers the blocks' weights in bfloat16, which halves the traffic, for training under
            `BF16OptimWrapper`, which rounds them anyway; gradients are still summed in float32. None gathers float32.

    Raises:
        ValueError: the model has no such blocks, ``param_dtype`` is not a torch dtype, or this torch cannot shard here.
    """

    def __init__(self, module: BaseModel, param_dtype: str | None = None) -> None:
        super().__init__()
        dtype = None if param_dtype is None else getattr(torch, param_dtype, None)
        if param_dtype is not None and not isinstance(dtype, torch.dtype):
            raise ValueError(f"param_dtype={param_dtype!r} is unknown: use 'bfloat16' or None")
        check_torch()
        repair_sharded_runs()
        start_equal(module)
        # In lists, so that torch does not register them as submodules.
        self._hollow = [hollow_copy(module)]
        self._evaluated: list[BaseModel] = []
        shard(module, dtype)
        # The EMA copies the model, which torch forbids for sharded models.
        module.__dict__['__deepcopy__'] = lambda memo: self._fill(lambda value: value.detach().clone())
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model."""
        return (self.module if self.training else self._whole())(*args, **kwargs)

    def train_step(self, data: dict | tuple | list, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Run one iteration; gradients are exchanged only if the optimizer takes a step after it."""
        self.module.set_requires_gradient_sync(optim_wrapper.should_sync())
        return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: dict | tuple | list) -> list:
        """Predict on the whole copy."""
        return self._whole().val_step(data)

    def test_step(self, data: dict | tuple | list) -> list:
        """Predict on the whole copy."""
        return self._whole().test_step(data)

    def train(self, mode: bool = True) -> 'ShardedModel':
        """Switch mode: evaluation gathers a whole copy of the model, training drops it."""
        super().train(mode)
        self._evaluated = [] if mode else [self._fill(whole).eval()]
        return self

    def _whole(self) -> BaseModel:
        if not self._evaluated:
            raise RuntimeError('a sharded model predicts after eval(), called in all processes')
        return self._evaluated[0]

    def _fill(self, change: Callable[[Tensor], Tensor]) -> Any:
        """Copy the model, applying ``change`` to its parameters and buffers."""
        filled = copy.deepcopy(self._hollow[0])
        done: dict[int, Tensor] = {}
        for source, names in ((self.module.named_parameters, '_parameters'), (self.module.named_buffers, '_buffers')):
            for path, value in source(remove_duplicate=False):
                parent, _, name = path.rpartition('.')
                if id(value) not in done:
                    done[id(value)] = _like(change(value), value)
                getattr(filled.get_submodule(parent), names)[name] = done[id(value)]
        load_whole_values(filled)
        return filled


def check_torch() -> None:
    """Refuse CPUs if the installed torch is one of the first with FSDP2, which need a GPU.

    Raises:
        ValueError: the message names the version.
    """
    if get_device() == 'cpu' and not hasattr(torch.cpu.Stream, 'record_event'):
        raise ValueError(f'torch {torch.__version__} shards models on GPUs only: on CPUs take a newer torch, or DDP')


def start_equal(module: BaseModel) -> None:
    """Initialise a model, and give all processes the first one's weights."""
    module.init_weights()
    for value in module.state_dict().values():
        broadcast(value)


def shard(module: nn.Module, param_dtype: torch.dtype | None) -> None:
    """Shard a model in place over all processes.

    Raises:
        ValueError: no part of it is an `Attention` or `Mlp`.
    """
    branches = [part for part in module.modules() if isinstance(part, Attention | Mlp)]
    if not branches:
        raise ValueError(f'{type(module).__name__} has no transformer block of PlainViT to shard: train it with DDP')
    mesh = init_device_mesh(get_device(), (get_world_size(),))
    # Inputs keep their dtype: autocast decides, and the residual stream stays float32.
    policy = MixedPrecisionPolicy(param_dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for branch in branches:
        fully_shard(branch, mesh=mesh, mp_policy=policy)
    fully_shard(module, mesh=mesh)
    load_whole_values(module)


def hollow_copy(module: nn.Module) -> Any:
    """Copy a module with its parameters and buffers on torch's meta device, which takes no memory."""
    values = (*module.parameters(), *module.buffers())
    return copy.deepcopy(module, {id(value): _like(torch.empty_like(value, device='meta'), value) for value in values})


def load_whole_values(module: nn.Module) -> None:
    """Let a module with sharded parameters load state dicts of plain tensors."""
    for part in module.modules():
        if part._parameters:
            part.register_load_state_dict_pre_hook(_shard_entries)


def _shard_entries(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, parameter in module._parameters.items():
        if prefix + name in state_dict:
            state_dict[prefix + name] = as_sharded(state_dict[prefix + name], parameter)


def _like(value: Tensor, model: Tensor) -> Tensor:
    """Make a value a parameter if ``model`` is one."""
    return nn.Parameter(value, model.requires_grad) if isinstance(model, nn.Parameter) else value
