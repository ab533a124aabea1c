"""Detect `torch.export` and ONNX export, and sizes that the export leaves open.

Comparing an open size with a number would tie the exported program to sizes that give the same result.
"""

from collections.abc import Sequence

import torch


def is_exporting() -> bool:
    """Whether a program is being exported, maybe for another machine; torch 2.6 cannot tell with ``strict=True``."""
    if hasattr(torch.compiler, 'is_exporting'):
        return torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()
    return (
        torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()
    ) or torch.onnx.is_in_onnx_export()


def is_open(*sizes: int) -> bool:
    """Whether any of the sizes is a symbol; always false outside `torch.export`."""
    return not torch.compiler.is_dynamo_compiling() and any(isinstance(size, torch.SymInt) for size in sizes)


def same_grid(old: Sequence[int], new: Sequence[int]) -> bool:
    """Whether two grids surely agree; false for an open one, as resampling to the same grid changes nothing."""
    return not is_open(*new) and tuple(old) == tuple(new)
