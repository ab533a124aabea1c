"""Data parallelism whose graph is the same in every iteration."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn


@MODEL_WRAPPERS.register_module()
class StaticDDP(MMDistributedDataParallel):
    """DDP that learns the graph once: no search for unused parameters, and gradients stored in the buckets.

    A parameter unused in the first iteration must stay unused. A model that decides this in each iteration needs
    ``find_unused_parameters = True`` in its config, which brings back mmengine's own wrapper.

    Args:
        module: an mmengine model.
        kwargs: arguments of `torch.nn.parallel.DistributedDataParallel`; they override the defaults set here.
    """

    def __init__(self, module: nn.Module, **kwargs: Any) -> None:
        defaults = dict(static_graph=True, gradient_as_bucket_view=True, broadcast_buffers=False)
        super().__init__(module, **{**defaults, **kwargs})
        self.graph_known = False

    def train_step(self, data: dict | tuple | list, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Run one iteration, as mmengine does."""
        logged = super().train_step(data, optim_wrapper)
        self.graph_known = True
        return logged

    def no_sync(self) -> AbstractContextManager[None]:
        """Keep gradients local, except in the first iteration, where torch learns the graph while averaging them.

        The sum stays exact, as averaging a part early changes nothing.
        """
        return super().no_sync() if self.graph_known else nullcontext()


def any_process(flag: bool) -> bool:
    """Whether ``flag`` is set in any process; all processes must call this."""
    raised = torch.tensor(float(flag))
    all_reduce(raised, 'max')
    return bool(raised)
