"""Attention with decomposed relative positions, a few queries at a time, so that the full bias never exists.

The backward pass recomputes the attention of each part from query and key instead of storing it, as flash attention
does (arXiv 2205.14135). `torch.compile` sees one operator and does not look inside.

Letters: B batch, N heads, G = B * N, H, W grid, L = H * W tokens, d head width.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

# Logits of one part: 4 MiB of float32, which fit a core's cache. Four times as many are as fast but take more memory.
PART = 2**20


@torch.library.custom_op('dense_mae::chunked_attention', mutates_args=())
def chunked_attention(query: Tensor, key: Tensor, value: Tensor, along_h: Tensor, along_w: Tensor) -> Tensor:
    """Attend with a bias ``along_h + along_w`` on the scaled logits, in parts.

    Args:
        query: (B, N, L, d), not yet scaled by 1 / sqrt(d); ``key`` and ``value`` have the same shape.
        key: see ``query``.
        value: see ``query``.
        along_h: (B, N, L, H), added to the logits of keys in each row.
        along_w: (B, N, L, W), added to the logits of keys in each column.

    Returns:
        (B, N, L, d), contiguous, in the query's dtype; half precision inputs are computed in float32.
    """
    q, k, v, rows, columns = _flat(query, key, value, along_h, along_w)
    # With one sample the inputs are views with gaps, and `empty_like` would copy the gaps.
    out = q.new_empty(q.shape)
    with torch.autocast(query.device.type, enabled=False):
        for group, part in _parts(len(q), q.shape[1]):
            out[group, part] = _weights(q, k, rows, columns, group, part) @ _exact(v[group])
    return out.reshape(query.shape)


@chunked_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, along_h: Tensor, along_w: Tensor) -> Tensor:
    return query.new_empty(query.shape)


@torch.library.custom_op('dense_mae::chunked_attention_backward', mutates_args=())
def chunked_attention_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, along_h: Tensor, along_w: Tensor, out: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute the gradients of the five inputs of `chunked_attention` from the gradient of its output ``out``."""
    q, k, v, rows, columns = inputs = _flat(query, key, value, along_h, along_w)
    of_out, out = _flat(gradient, out)
    scale = query.shape[-1] ** -0.5
    grads = [torch.zeros(x.shape, dtype=_exact(x[:0]).dtype, device=x.device) for x in inputs]
    of_q, of_k, of_v, of_rows, of_columns = grads
    with torch.autocast(query.device.type, enabled=False):
        for group, part in _parts(len(q), q.shape[1]):
            wanted = _exact(of_out[group, part])
            weights = _weights(q, k, rows, columns, group, part)
            of_v[group].baddbmm_(weights.transpose(1, 2), wanted)
            # Softmax: subtract from each logit's gradient the weighted mean of its row, which is gradient . output.
            mean = (wanted * _exact(out[group, part])).sum(-1, keepdim=True)
            of_logits = torch.baddbmm(mean, wanted, _exact(v[group]).transpose(1, 2), beta=-1).mul_(weights)
            of_q[group, part] = (of_logits @ _exact(k[group])).mul_(scale)
            of_k[group].baddbmm_(of_logits.transpose(1, 2), _exact(q[group, part]), alpha=scale)
            # (G, part, L) -> (G, part, H, W)
            of_places = of_logits.unflatten(-1, (rows.shape[-1], columns.shape[-1]))
            of_rows[group, part] = of_places.sum(-1)
            of_columns[group, part] = of_places.sum(-2)
    shaped = [g.to(x.dtype).reshape(x.shape) for g, x in zip(grads, (query, key, value, along_h, along_w), strict=True)]
    return shaped[0], shaped[1], shaped[2], shaped[3], shaped[4]


@chunked_attention_backward.register_fake
def _(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, along_h: Tensor, along_w: Tensor, out: Tensor
) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in (query, key, value, along_h, along_w))


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs, output)


def _differentiate(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, ...]:
    return chunked_attention_backward(gradient, *ctx.saved_tensors)  # type: ignore[attr-defined]


chunked_attention.register_autograd(_differentiate, setup_context=_save)


@register_flop_formula(torch.ops.dense_mae.chunked_attention)
def _flops(query: tuple[int, ...], *_shapes: tuple[int, ...], out_shape: tuple[int, ...]) -> int:
    """Count query . key and attention . value for `torch.utils.flop_counter`."""
    batch, heads, length, width = query
    return 4 * batch * heads * length**2 * width


@register_flop_formula(torch.ops.dense_mae.chunked_attention_backward)
def _backward_flops(gradient: tuple[int, ...], *_shapes: tuple[int, ...], out_shape: tuple[int, ...]) -> int:
    """Count twice the forward pass; recomputation does not count as work of the model."""
    batch, heads, length, width = gradient
    return 8 * batch * heads * length**2 * width


def _weights(q: Tensor, k: Tensor, rows: Tensor, columns: Tensor, group: slice, part: slice) -> Tensor:
    """Softmax over all keys for a part of the queries: (groups, part, L)."""
    # (groups, part, H, 1) + (groups, part, 1, W) -> (groups, part, L)
    logits = (_exact(rows[group, part])[..., :, None] + _exact(columns[group, part])[..., None, :]).flatten(-2)
    logits.baddbmm_(_exact(q[group, part]), _exact(k[group]).transpose(1, 2), alpha=q.shape[-1] ** -0.5)
    return logits.softmax(-1)


def _parts(groups: int, length: int) -> Iterator[tuple[slice, slice]]:
    """Cut (G, L) queries into parts of about `PART` logits: several small windows, or some rows of a large grid."""
    together = max(1, min(groups, PART // length**2))
    rows = max(1, min(length, PART // (together * length)))
    for group in range(0, groups, together):
        for row in range(0, length, rows):
            yield slice(group, group + together), slice(row, row + rows)


def _flat(*tensors: Tensor) -> list[Tensor]:
    # (B, N, L, x) -> (G, L, x)
    return [x.reshape(-1, *x.shape[2:]) for x in tensors]


def _exact(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
