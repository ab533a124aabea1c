"""Training and evaluation under bfloat16 autocast, on CPU or GPU; predictions are decoded and scored in float32.

A bfloat16 has 8 bits. Near 500 pixels its steps are 2 wide, for boxes and for the image sides they are cut to, and
scores of thousands of detections share a few hundred values.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import LOOPS, OPTIM_WRAPPERS
from mmengine.runner import TestLoop, ValLoop
from torch import Tensor, nn

from backbones.openmmlab.repairs.mmengine.precision import full_precision
from backbones.openmmlab.repairs.mmengine.sharded import whole

# Method that OpenMMLab's heads call to turn their outputs into predictions.
DECODE = 'predict_by_feat'


@OPTIM_WRAPPERS.register_module()
class BF16OptimWrapper(OptimWrapper):
    """Train under bfloat16 autocast on CPU or GPU; bfloat16's range needs no loss scaling.

    Attributes:
        defers_norm: store the norm of clipped gradients in ``grad_norm``, for
            `backbones.engine.loss_log.DeferredLossLog`, instead of waiting for the device to log it.
        grad_norm: the last norm.
    """

    defers_norm = False
    grad_norm: Tensor | None = None

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass under autocast, and without gradient synchronisation while accumulating."""
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield

    def _clip_grad(self) -> None:
        if not self.defers_norm:
            super()._clip_grad()
            return
        parameters = [p for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
        if parameters:
            # `whole`, since the log stacks the norm with other tensors, and a sharded model's is spread over processes.
            self.grad_norm = whole(self.clip_func(parameters, **self.clip_grad_kwargs))


def cast(step: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Make a model's step run under bfloat16 autocast."""

    @functools.wraps(step)
    def cast_step(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            return step(*args, **kwargs)

    return cast_step


def exact(decode: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Make a function receive float32 and run without autocast."""

    @functools.wraps(decode)
    def exact_decode(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device, enabled=False):
            return decode(*full_precision(args), **full_precision(kwargs))

    return exact_decode


@contextmanager
def replaced(module: nn.Module, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Replace a method of one object by a function inside the context."""
    setattr(module, name, function)
    try:
        yield
    finally:
        delattr(module, name)


@contextmanager
def bf16(model: nn.Module, step: str) -> Iterator[None]:
    """Predict in bfloat16 but decode in float32; callers of the step, such as metrics and hooks, are not affected.

    Args:
        model: the runner's mmengine model.
        step: the method that predicts, 'val_step' or 'test_step'.
    """
    device = get_device()
    with ExitStack() as stack:
        stack.enter_context(replaced(model, step, cast(getattr(model, step), device)))
        for module in model.modules():
            if hasattr(module, DECODE):
                stack.enter_context(replaced(module, DECODE, exact(getattr(module, DECODE), device)))
        yield


@LOOPS.register_module()
class BF16ValLoop(ValLoop):
    """Validation with the model in bfloat16; decoding, metrics and hooks in float32."""

    def run(self) -> dict[str, Any]:
        """Evaluate the model, and return its metrics."""
        with bf16(self.runner.model, 'val_step'):
            return super().run()


@LOOPS.register_module()
class BF16TestLoop(TestLoop):
    """Testing with the model in bfloat16; decoding, metrics and hooks in float32."""

    def run(self) -> dict[str, Any]:
        """Evaluate the model, and return its metrics."""
        with bf16(self.runner.model, 'test_step'):
            return super().run()
