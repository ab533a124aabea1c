"""What `torch.export` and ONNX need to be told: whether they are at work, and which sizes are left open.

A comparison of an open size with a number would tie the exported program to the sizes for which it came out so.
"""

from collections.abc import Sequence

import torch


def is_exporting() -> bool:
    """Whether a program is being exported, for another machine maybe; torch 2.6 cannot tell with ``strict=True``."""
    if hasattr(torch.compiler, 'is_exporting'):
        return torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()
    return (
        torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()
    ) or torch.onnx.is_in_onnx_export()


def is_open(*sizes: int) -> bool:
    """Whether any of some sizes is a symbol; never so outside `torch.export`."""
    return not torch.compiler.is_dynamo_compiling() and any(isinstance(size, torch.SymInt) for size in sizes)


def same_grid(old: Sequence[int], new: Sequence[int]) -> bool:
    """Whether two grids are known to agree; an open one is not: resampling to the same grid changes nothing."""
    return not is_open(*new) and tuple(old) == tuple(new)
