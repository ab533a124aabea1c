"""Evaluation under bfloat16 autocast, on CPU or GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.registry import LOOPS
from mmengine.runner import TestLoop, ValLoop


@contextmanager
def bf16(loop: ValLoop | TestLoop) -> Iterator[None]:
    """Make mmengine's loop cast to bfloat16: its ``fp16`` takes the type of the autocast around it."""
    loop.fp16 = True
    with torch.autocast(get_device(), torch.bfloat16):
        yield


@LOOPS.register_module()
class BF16ValLoop(ValLoop):
    """Validation under bfloat16 autocast; metrics get float32."""

    def run(self) -> dict[str, Any]:
        """Evaluate the model, and return its metrics."""
        with bf16(self):
            return super().run()


@LOOPS.register_module()
class BF16TestLoop(TestLoop):
    """Testing under bfloat16 autocast; metrics get float32."""

    def run(self) -> dict[str, Any]:
        """Evaluate the model, and return its metrics."""
        with bf16(self):
            return super().run()
