"""Inspect a checkpoint without a model at hand, and write its encoder in the layout of each project."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from backbones.checkpoint.beit import name_as_published
from backbones.checkpoint.describe import describe
from backbones.checkpoint.dialects import OPENMMLAB, TRANSFORMERS_V5, TRANSFORMERS_VITDET, to_theirs
from backbones.checkpoint.match import assumptions, match
from backbones.checkpoint.options import Architecture, architecture, heads_of, model_options, told_grid
from backbones.checkpoint.positions import prefix_rows
from backbones.checkpoint.read import read_checkpoint
from backbones.checkpoint.recognise import EncoderFile, recognise
from backbones.checkpoint.report import Report
from backbones.vit import PlainViT

# Target of a conversion -> suffixes allowed for its files.
TARGETS = {
    'mae': ('.pth', '.pt'),
    'timm': ('.pth', '.pt', '.safetensors'),
    'transformers': ('.bin', '.safetensors'),
    'mmpretrain': ('.pth', '.pt'),
    'safetensors': ('.safetensors',),
}
# Names of parameters that transformers' ViT and VitDet have.
_BLOCK_NAMES = r'pos_embed|patch_embed\.proj\.\w+|blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.fc[12])\.\w+'
VIT_NAMES = re.compile(rf'{_BLOCK_NAMES}|cls_token|norm\.\w+')
VITDET_NAMES = re.compile(rf'{_BLOCK_NAMES}|blocks\.\d+\.attn\.rel_pos_[hw]')


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint holds.

    Attributes:
        sizes: sizes of the encoder.
        report: report of loading it into a PlainViT of these sizes.
        tensors: the tensors as that PlainViT holds them.
        notes: lines on input size, target, head and how to load it.
    """

    sizes: Architecture
    report: Report
    tensors: dict[str, Tensor]
    notes: list[str]


def inspect_checkpoint(path: str | Path, key: str | None = None, prefix: str | None = None) -> Inspection:
    """Match a checkpoint with the PlainViT of its own sizes.

    Args:
        path: see `backbones.checkpoint.load.load_pretrained`.
        key: see `backbones.checkpoint.load.load_pretrained`.
        prefix: see `backbones.checkpoint.load.load_pretrained`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read or has no known format.
    """
    content = read_checkpoint(path)
    file = recognise(content, str(path), key, prefix)
    report, values = match(_bare_model(file), file)
    report.assumed = assumptions(file, heads_of(file), told_grid(file))
    given = {name: value for name, value in (('key', key), ('prefix', prefix)) if value is not None}
    return Inspection(architecture(file), report, values, describe(str(path), content, file, given))


def lay_out(tensors: dict[str, Tensor], target: str) -> dict[str, Any]:
    """Arrange an encoder in the layout of a target's files.

    Args:
        tensors: tensors under MAE's names.
        target: ``'mae'``: ``{'model': ...}``; ``'timm'`` and ``'safetensors'``: flat. All three use MAE's names, with
            those of BEiT and of timm's layer scale if the encoder has such parts. ``'transformers'``: flat, with the
            names of version 5's ViTModel and ViTMAEModel (VitDetBackbone if there is no class token);
            ``'mmpretrain'``: ``{'state_dict': ...}`` with ``backbone.``.

    Raises:
        ValueError: the target is unknown, or has no place for a parameter.
    """
    if target != 'transformers':
        tensors = name_as_published(tensors)
    if target == 'mae':
        return {'model': tensors}
    if target in ('timm', 'safetensors'):
        return dict(tensors)
    if target == 'mmpretrain':
        return {'meta': {}, 'state_dict': {f'backbone.{k}': v for k, v in to_theirs(tensors, OPENMMLAB).items()}}
    if target != 'transformers':
        raise ValueError(f'target {target!r} is unknown: use one of {", ".join(TARGETS)}')
    plain = 'cls_token' in tensors
    strange = [name for name in tensors if not (VIT_NAMES if plain else VITDET_NAMES).fullmatch(name)]
    if strange:
        model = 'ViT' if plain else 'VitDet'
        raise ValueError(f"transformers' {model} has no place for {', '.join(strange[:4])}: convert to timm or mae")
    return dict(to_theirs(tensors, TRANSFORMERS_V5 if plain else TRANSFORMERS_VITDET))


def write_encoder(tensors: dict[str, Tensor], path: str | Path, target: str | None = None) -> None:
    """Write an encoder to a file, which appears complete or not at all.

    Args:
        tensors: tensors under MAE's names.
        path: the file.
        target: see `lay_out`; None means ``'safetensors'`` if ``path`` has that suffix, else ``'mae'``.

    Raises:
        FileNotFoundError: the file's folder does not exist.
        ValueError: the file's suffix does not fit the target, or see `lay_out`.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f'there is no folder {path.parent} to write {path.name} to')
    target = target or ('safetensors' if path.suffix == '.safetensors' else 'mae')
    if target in TARGETS and path.suffix not in TARGETS[target]:
        raise ValueError(f'{path} ends in {path.suffix!r}: use {" or ".join(TARGETS[target])} for {target}')
    content = _own_storage(lay_out(tensors, target))
    scratch = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    try:
        if path.suffix == '.safetensors':
            # transformers requires this format tag.
            save_file(content, scratch, metadata={'format': 'pt'})
        else:
            torch.save(content, scratch)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _own_storage(content: dict[str, Any]) -> dict[str, Any]:
    """Copy tensors that are part of a larger storage, since saving them would save all of it."""
    return {
        name: _own_storage(value)
        if isinstance(value, dict)
        else value
        if _is_whole(value)
        else value.clone(memory_format=torch.contiguous_format)
        for name, value in content.items()
    }


def _is_whole(tensor: Tensor) -> bool:
    return tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes


def _bare_model(file: EncoderFile) -> PlainViT:
    """Build a file's PlainViT on the meta device; options that the file does not tell change no shape."""
    options = model_options(file)
    known, rows = dict(options.known), file.tensors['pos_embed'].shape[1] if 'pos_embed' in file.tensors else 2
    if 'num_heads' in options.untold:
        known['variant'] = {**known['variant'], 'num_heads': 1}
    # Treat positions of an unknown grid as one row of patches.
    patch = known['patch_size']
    fill: dict[str, Any] = {'window_size': 1, 'img_size': (patch, (rows - prefix_rows(rows, None)) * patch)}
    with torch.device('meta'):
        return PlainViT.from_options(**known, **{name: value for name, value in fill.items() if name in options.untold})
