"""One precision for all tensors of an operator."""

import functools

import torch
from torch import Tensor


def at_least_float32(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Convert all tensors to their widest dtype, at least float32.

    fp16 and bf16 are too coarse for coordinates, and most CPU kernels do not accept them.
    """
    dtype = functools.reduce(torch.promote_types, (t.dtype for t in tensors), torch.float32)
    return tuple(t.to(dtype) for t in tensors)
