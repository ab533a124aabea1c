"""Find values that no network can compute with, even if the shapes fit."""

import torch
from torch import Tensor

# Types that weights are stored in; other types (integers, float8) hold quantised numbers without their scales.
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def why_unusable(tensor: Tensor, dtype: torch.dtype) -> str | None:
    """Say what is wrong with a parameter's value in a file; None if it is fine.

    Args:
        tensor: the value in the file.
        dtype: type of the model's parameter.
    """
    if tensor.is_meta:
        return 'has no values (saved from the meta device)'
    if tensor.layout != torch.strided:
        return f'is stored as {tensor.layout}, not as a plain array'
    if tensor.dtype not in FLOATS:
        return f'holds {str(tensor.dtype).removeprefix("torch.")}, as quantised models do, not floating-point weights'
    if not torch.isfinite(tensor).all():
        bad = int((~torch.isfinite(tensor)).sum())
        return f'holds {bad} values of {tensor.numel()} that are nan or infinite'
    if torch.finfo(dtype).max < torch.finfo(tensor.dtype).max and not torch.isfinite(tensor.to(dtype)).all():
        return f'holds values beyond the range of {str(dtype).removeprefix("torch.")}, the type of the model'
    return None
