"""Match an encoder from a file with a PlainViT: which value each parameter would get, or why it would get none."""

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from backbones.checkpoint.beit import SHARED_TABLE, spread_shared_table
from backbones.checkpoint.kernel import Channels
from backbones.checkpoint.options import file_kinds, told_grid
from backbones.checkpoint.positions import grid_of, split_rows
from backbones.checkpoint.recognise import EncoderFile
from backbones.checkpoint.report import Report
from backbones.checkpoint.resize import fit, is_rel_pos, is_table
from backbones.checkpoint.told import GELU
from backbones.checkpoint.values import why_unusable
from backbones.checkpoint.windows import GLOBAL, WINDOW
from backbones.vit import PlainViT
from backbones.vit.layers import LAYER_NORM_EPS


def match(
    vit: PlainViT, file: EncoderFile, allow_missing: Sequence[str] = (), channels: Channels = None
) -> tuple[Report, dict[str, Tensor]]:
    """Work out what `load_pretrained` would do without touching the model, which may be on the meta device.

    Returns:
        the report, and the value in the model's shape for each parameter in the report's ``loaded``.

    Raises:
        ValueError: ``allow_missing`` names no parameter of the model.
    """
    own = vit.state_dict()
    allowed = _allowed(own, allow_missing)
    kinds, grid = file_kinds(file), _known_grid(vit, file)
    report = Report(
        file.source,
        file.format,
        weights=file.weights,
        assumed=assumptions(file, vit.num_heads, grid),
        left_over=dict(file.left_over),
        unexpected=list(file.unexpected),
        refused=_differences(vit, file),
    )
    values: dict[str, Tensor] = {}
    tensors = spread_shared_table(file.tensors, own)
    if tensors is not file.tensors:
        report.left_over[SHARED_TABLE] = 'shared in the file: each block starts from a copy'
    for name, tensor in tensors.items():
        if name not in own:
            _sort_unused(report, name)
            continue
        wrong = why_unusable(tensor, own[name].dtype) or _other_reach(vit, name, tensor, own[name], kinds)
        value = None if wrong else fit(name, tensor, own[name].shape, _grid_behind(vit, name), channels, grid)
        wrong = wrong or (_unknown_grid(vit, name, tensor) if value is None else None)
        if value is None:
            if name not in allowed and wrong:
                report.refused[name] = wrong
            elif name not in allowed:
                report.mismatched[name] = (tuple(tensor.shape), tuple(own[name].shape))
            continue
        values[name] = value
        if value is not tensor or name in file.shapes:
            report.resized[name] = (file.shapes.get(name, tuple(tensor.shape)), tuple(value.shape))
    report.loaded = list(values)
    _sort_absent(report, own, values, allowed, file)
    return report, values


def assumptions(file: EncoderFile, heads: int | None, grid: tuple[int, int] | None) -> list[str]:
    """Write report lines on properties of the model that the file does not tell.

    Args:
        file: the encoder.
        heads: number of heads of the model; None if undecided.
        grid: (H, W) of the positions if the file or the user tells it.
    """
    told, lines = file.told, []
    if told.heads is None:
        lines.append(f'heads are not in the file: {heads or "give num_heads; none"} assumed')
    if told.activation is None:
        lines.append('the activation is not in the file: exact GELU assumed')
        if 'cls_token' not in file.tensors and not any(is_rel_pos(name) for name in file.tensors):
            lines.append('there is no class token in the file, as in those of SigLIP, of which some have tanh-GELU')
    if told.eps is None:
        lines.append(f"the norms' epsilon is not in the file: {LAYER_NORM_EPS:g} assumed")
    elif told.eps != LAYER_NORM_EPS:
        lines.append(f"the norms' epsilon is {told.eps:g} by {told.by}: {LAYER_NORM_EPS:g} here")
    table = file.tensors.get('pos_embed')
    if table is not None and table.ndim == 3 and grid_of(table, known=grid) is None:
        lines.append("the grid of the positions is not in the file: the model's assumed")
    return lines


def _known_grid(vit: PlainViT, file: EncoderFile) -> tuple[int, int] | None:
    """Grid of the file's positions, from the file or else from the user's ``pretrain_img_size``."""
    return told_grid(file) or (vit.pos_grid if vit.pretrain_img_size else None)


def _unknown_grid(vit: PlainViT, name: str, table: Tensor) -> str | None:
    """Why positions of the right width do not fit: several grids are possible."""
    if name != 'pos_embed' or table.ndim != 3 or table.shape[2] != vit.embed_dim:
        return None
    square, (height, width) = split_rows(table.shape[1]), vit.pos_grid
    either = f', {square[1]}x{square[1]} or {height}x{width}' if square else ' that are no square'
    return (
        f'{table.shape[1]} learned positions{either}: the file does not tell their grid, so build PlainViT with '
        'pretrain_img_size=(height, width), the image they were trained on'
    )


def _differences(vit: PlainViT, file: EncoderFile) -> dict[str, str]:
    """Properties of the file's network that differ from the model, though all shapes may fit."""
    told, wrong = file.told, {}
    if told.heads not in (None, vit.num_heads):
        wrong['num_heads'] = f'{told.heads} by {told.by}, the model has {vit.num_heads}: another function'
    if told.activation not in (None, GELU):
        wrong['activation'] = f'{told.activation} by {told.by}, PlainViT has exact GELU: another function'
    if 'pos_embed' not in file.tensors and not any(is_rel_pos(name) for name in file.tensors):
        wrong['positions'] = 'none in the file: rotary ones leave no trace, and PlainViT has none'
    return wrong


def _other_reach(vit: PlainViT, name: str, table: Tensor, own: Tensor, kinds: dict[int, str]) -> str | None:
    """Why a relative-position table has another reach (windows or the whole image) than the model's block, or None.

    Resampling stretches the offsets between places. From image to image or window to window, that is right for a new
    resolution; between window and image it gives another function.
    """
    block = re.match(r'blocks\.(\d+)\.', name)
    if not block or not is_rel_pos(name):
        return None
    index = int(block.group(1))
    kind, own_kind = kinds.get(index), WINDOW if vit.blocks[index].window_size else GLOBAL
    if kind is None and own_kind == WINDOW and not is_table(name) and len(table) != len(own):
        kind = GLOBAL
    if kind in (None, own_kind):
        return None
    return (
        f'of {kind} in the file ({len(table)} rows), of {own_kind} in the model: build window_size and global_blocks '
        'as in the file (convert_checkpoint.py --inspect), or name it in allow_missing to start at zero'
    )


def _allowed(own: dict[str, Tensor], allow_missing: Sequence[str]) -> set[str]:
    allowed = set()
    for start in [allow_missing] if isinstance(allow_missing, str) else allow_missing:
        names = {name for name in own if name == start or name.startswith(start.rstrip('.') + '.')}
        if not names:
            raise ValueError(f'allow_missing names {start!r}, but the model has no such parameter')
        allowed |= names
    return allowed


def _grid_behind(vit: PlainViT, name: str) -> tuple[int, int]:
    """Grid (H, W) of a table: the windows' or the image's for BEiT's tables, else that of the positions."""
    if not is_table(name):
        return vit.pos_grid
    holder: Any = vit.get_submodule(name.rpartition('.')[0])
    return holder.table_grid


def _sort_unused(report: Report, name: str) -> None:
    """Sort a name that is in the file but not in the model into the report."""
    if name.startswith('norm.'):
        report.left_over[name] = 'the model has no final norm (out_norm=False)'
    elif name == 'cls_token':
        report.left_over[name] = 'the model has no class token (windows or relative positions)'
    else:
        report.unexpected.append(name)


def _sort_absent(
    report: Report, own: dict[str, Tensor], values: dict[str, Tensor], allowed: set[str], file: EncoderFile
) -> None:
    """Sort names of the model that get no value from the file into the report."""
    for name in own:
        if name in values or name in report.mismatched or name in report.refused:
            continue
        reason = 'allowed by the caller' if name in allowed else _why_absent(name, file)
        if reason:
            report.kept[name] = reason
        else:
            report.missing.append(name)


def _why_absent(name: str, file: EncoderFile) -> str | None:
    """Why the file rightly lacks a parameter; None if nothing explains it."""
    if is_rel_pos(name) and not any(is_rel_pos(other) for other in file.tensors):
        return 'pretrained without relative positions; the tables start at zero'
    if name == 'global_pos_embed' and 'pos_embed' in file.tensors:
        return 'pretrained without windows; the stretched positions start at zero'
    if name.startswith('norm.') and any('fc_norm.' in other for other in file.left_over):
        return 'fine-tuned with fc_norm behind the pooling instead, which is another function'
    return None
