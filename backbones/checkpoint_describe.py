"""What a checkpoint tells beyond its tensors: input size, target of the pretraining, head, and how to load it."""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from backbones.checkpoint_convert_beit import options_of
from backbones.checkpoint_formats import Architecture, EncoderFile
from backbones.checkpoint_resize import sincos_distances, split_rows
from backbones.vit import VARIANTS

CLASSIFIERS = re.compile(r'(^|\.)(head|head\.fc|classifier|cls_classifier)\.weight$')
# Mean squared distance to the sin-cos table; learned tables are two orders of magnitude further off.
NEAR_SINCOS = 1e-2


def describe(path: str, content: dict[str, Any], file: EncoderFile, sizes: Architecture) -> list[str]:
    """Write the lines that ``--inspect`` adds to the report.

    Args:
        path: the file, as the user gave it.
        content: what `read_checkpoint` returned.
        file: the encoder taken out of it.
        sizes: of the encoder.
    """
    rows = [
        ('input size', _input_size(file, sizes)),
        ('target', _target(Path(path), content)),
        ('head', _head(file)),
        ('config', _config_line(path, file, sizes)),
    ]
    return [f'{title:<12} {text}' for title, text in rows]


def _side(file: EncoderFile) -> int | None:
    """Side of the square grid of the positions."""
    square = split_rows(file.tensors['pos_embed'].shape[1]) if 'pos_embed' in file.tensors else None
    return square[1] if square else None


def _input_size(file: EncoderFile, sizes: Architecture) -> str:
    if 'pos_embed' not in file.tensors:
        return 'not told by the file: it has no absolute positions'
    side, table = _side(file), file.tensors['pos_embed']
    if side is None:
        return f'not told by the file: {table.shape[1]} positions are no square grid'
    kind = 'learned'
    if table.shape[1] == 1 + side * side and table.shape[2] % 4 == 0:
        layout, distance = min(sincos_distances(table, (side, side)).items(), key=lambda item: item[1])
        kind = f'sin-cos, {layout} layout' if distance < NEAR_SINCOS else kind
    pixels = side * sizes.patch_size
    return f'{pixels}x{pixels} (positions {side}x{side}, {kind})'


def _target(path: Path, content: dict[str, Any]) -> str:
    """Whether MAE was trained on normalised patches, where the run's arguments are in the file or beside it."""
    args, meta = content.get('args'), content.get('meta')
    known = vars(args).get('norm_pix_loss') if isinstance(args, argparse.Namespace) else None
    text = meta.get('cfg') if isinstance(meta, dict) else None
    found = re.search(r'\bnorm_pix\s*=\s*(True|False)', text) if isinstance(text, str) else None
    if found:
        known = found.group(1) == 'True'
    beside = path.with_name('config.json')
    if known is None and beside.is_file():
        known = json.loads(beside.read_text()).get('norm_pix_loss')
    return 'not told by the file' if known is None else 'norm-pix' if known else 'raw pixels'


def _head(file: EncoderFile) -> str:
    for name in file.left_over:
        if CLASSIFIERS.search(name) and len(file.shapes.get(name, ())) == 2:
            return f'classifier of {file.shapes[name][0]} classes'
    if any('decoder' in reason for reason in file.left_over.values()):
        return 'MAE decoder'
    if any(re.match(r'(bbox|decode|roi|rpn|proposal)', name) for name in file.left_over):
        return 'detector or segmentor'
    return 'none that is known'


def _config_line(path: str, file: EncoderFile, sizes: Architecture) -> str:
    names = {(v['embed_dim'], v['depth']): repr(name) for name, v in VARIANTS.items()}
    custom = f'dict(embed_dim={sizes.embed_dim}, depth={sizes.depth}, num_heads=...)'
    side = _side(file)
    size = f'img_size={side * sizes.patch_size}, ' if side else ''
    channels = f'in_channels={sizes.in_channels}, ' if sizes.in_channels != 3 else ''
    options = ''.join(f'{name}={value!r}, ' for name, value in options_of(file.tensors).items())
    norm = 'out_norm=True, ' if 'norm.weight' in file.tensors else ''
    return (
        f"backbone=dict(type='PlainViT', variant={names.get((sizes.embed_dim, sizes.depth), custom)}, {size}"
        f'patch_size={sizes.patch_size}, {channels}{options}{norm}'
        f"init_cfg=dict(type='PretrainedViT', checkpoint={path!r}))"
    )
