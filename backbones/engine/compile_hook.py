"""`torch.compile` for the slow parts of a step."""

from collections.abc import Sequence
from operator import attrgetter

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn


@HOOKS.register_module()
class CompileParts(Hook):
    """Compile methods or submodules of the model before training; state-dict keys stay as they are.

    mmengine's own ``compile`` compiles the whole ``train_step``, with its logging and the optimizer's Python. For a
    pretraining model use ``parts=['losses']``, one graph forward and one backward; for a detector or segmentor
    ``['backbone', 'neck']``, as shapes in its heads depend on the data.

    Args:
        parts: dotted names.
        dynamic: let sizes vary; False makes the fastest code, but compiles again for each image size.

    Raises:
        ValueError: the model has no such part.
    """

    def __init__(self, parts: Sequence[str], dynamic: bool = False) -> None:
        self.parts = tuple(parts)
        self.dynamic = dynamic

    def before_train(self, runner: Runner) -> None:
        """Called by the runner."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for part in self.parts:
            compile_part(model, part, self.dynamic)
        runner.logger.info(f'compiled: {", ".join(self.parts)}; the first iterations take longer')


def compile_part(model: nn.Module, part: str, dynamic: bool) -> None:
    """Compile a submodule or a method of a model in place.

    Raises:
        ValueError: the model has no such part.
    """
    owner, _, name = part.rpartition('.')
    try:
        place = attrgetter(owner)(model) if owner else model
        target = getattr(place, name)
    except AttributeError as error:
        raise ValueError(f'{type(model).__name__} has no part {part!r} to compile') from error
    if isinstance(target, nn.Module):
        target.compile(dynamic=dynamic)
    else:
        setattr(place, name, torch.compile(target, dynamic=dynamic))
