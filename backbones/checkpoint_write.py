"""Looking into a checkpoint without a model at hand, and writing its encoder as a plain file."""

import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from backbones.checkpoint import match
from backbones.checkpoint_convert_beit import options_of
from backbones.checkpoint_formats import Architecture, architecture, recognise
from backbones.checkpoint_read import read_checkpoint
from backbones.checkpoint_report import Report
from backbones.checkpoint_resize import is_rel_pos, split_rows
from backbones.vit import PlainViT


def inspect_checkpoint(path: str | Path) -> tuple[Architecture, Report, dict[str, Tensor]]:
    """Match a checkpoint with the PlainViT of its own sizes.

    Args:
        path: see `backbones.checkpoint.load_pretrained`.

    Returns:
        sizes of the encoder, the report of loading it, and its tensors as that PlainViT holds them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read or is of no known format.
    """
    file = recognise(read_checkpoint(path), str(path))
    sizes = architecture(file.tensors)
    with torch.device('meta'):
        vit = _bare_model(sizes, file.tensors)
    report, values = match(vit, file)
    return sizes, report, values


def write_encoder(tensors: dict[str, Tensor], path: str | Path) -> None:
    """Write an encoder as ``{'model': tensors}`` (official MAE layout), or flat where ``path`` ends in .safetensors.

    The file appears whole or not at all.

    Raises:
        FileNotFoundError: there is no folder for it.
        ValueError: the name ends in none of .pth, .pt and .safetensors.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f'there is no folder {path.parent} to write {path.name} to')
    if path.suffix not in ('.pth', '.pt', '.safetensors'):
        raise ValueError(f'{path} ends in {path.suffix!r}: use .pth or .pt (MAE layout) or .safetensors')
    # Own storage each: a mapped or shared one would drag the rest of its file along.
    tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    scratch = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    try:
        if path.suffix == '.safetensors':
            save_file(tensors, scratch)
        else:
            torch.save({'model': tensors}, scratch)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _bare_model(sizes: Architecture, tensors: dict[str, Tensor]) -> PlainViT:
    """PlainViT with the sizes of a file; a position table that is not square counts as one row of patches."""
    tables = {name: tensor for name, tensor in tensors.items() if is_rel_pos(name)}
    rows = tensors['pos_embed'].shape[1] if 'pos_embed' in tensors else 2
    square = split_rows(rows)
    grid = (square[1], square[1]) if square else (1, rows - 1)
    vit = PlainViT(
        # Heads change no shape but those of the tables, which are put in below.
        dict(embed_dim=sizes.embed_dim, depth=sizes.depth, num_heads=1),
        img_size=(grid[0] * sizes.patch_size, grid[1] * sizes.patch_size),
        patch_size=sizes.patch_size,
        in_channels=sizes.in_channels,
        # Windows are what makes a PlainViT without class token; their size leaves no trace but in the tables.
        window_size=0 if 'cls_token' in tensors else 1,
        out_norm='norm.weight' in tensors,
        **options_of(tensors),
    )
    for name in tables.keys() & vit.state_dict().keys():
        block, _, table = name.rpartition('.')
        setattr(vit.get_submodule(block), table, nn.Parameter(tables[name].to('meta')))
    return vit
