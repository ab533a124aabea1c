"""Describe a checkpoint beyond its tensors: input size, pretraining target, head, and how to load it."""

import argparse
import re
from pathlib import Path
from typing import Any

from backbones.checkpoint.options import architecture, model_options, position_grid
from backbones.checkpoint.positions import NEAR_SINCOS, prefix_rows, sincos_distances
from backbones.checkpoint.recognise import EncoderFile
from backbones.checkpoint.told import config_beside

CLASSIFIERS = re.compile(r'(^|\.)(head|head\.fc|classifier|cls_classifier)\.weight$')


def describe(path: str, content: dict[str, Any], file: EncoderFile, init: dict[str, str]) -> list[str]:
    """Write the lines that ``--inspect`` adds to the report.

    Args:
        path: the file, as the user gave it.
        content: what `read_checkpoint` returned.
        file: the encoder taken out of the file.
        init: arguments of `PretrainedViT` that the user gave, besides the checkpoint.
    """
    rows = [
        ('input size', _input_size(file)),
        ('target', _target(Path(path), content)),
        ('head', _head(file)),
        ('config', _config_line({'checkpoint': path, **init}, file)),
    ]
    return [f'{title:<12} {text}' for title, text in rows]


def _input_size(file: EncoderFile) -> str:
    size = model_options(file).known.get('img_size')
    pixels = f'{size}x{size}' if isinstance(size, int) else f'{size[0]}x{size[1]}' if size else 'not told by the file'
    if 'pos_embed' not in file.tensors:
        return f'{pixels} (no absolute positions)' if size else f'{pixels}: it has no absolute positions'
    grid, table = position_grid(file), file.tensors['pos_embed']
    if grid is None:
        return f'{pixels}: {table.shape[1]} positions are no square grid'
    kind, places = 'learned', table[:, prefix_rows(table.shape[1], None, grid) :]
    if table.is_meta:
        kind = 'without values'
    elif table.shape[2] % 4 == 0 and table.is_floating_point():
        layout, distance = min(sincos_distances(places, grid).items(), key=lambda item: item[1])
        kind = f'sin-cos, {layout} layout' if distance < NEAR_SINCOS else kind
    return f'{pixels} (positions {grid[0]}x{grid[1]}, {kind})'


def _target(path: Path, content: dict[str, Any]) -> str:
    """Say whether MAE was trained on normalised patches, if the run's arguments are in the file or beside it."""
    args, meta = content.get('args'), content.get('meta')
    known = vars(args).get('norm_pix_loss') if isinstance(args, argparse.Namespace) else None
    text = meta.get('cfg') if isinstance(meta, dict) else None
    found = re.search(r'\bnorm_pix\s*=\s*(True|False)', text) if isinstance(text, str) else None
    if found:
        known = found.group(1) == 'True'
    if known is None:
        known = config_beside(str(path)).get('norm_pix_loss')
    return 'not told by the file' if known is None else 'norm-pix' if known else 'raw pixels'


def _head(file: EncoderFile) -> str:
    for name in file.left_over:
        if CLASSIFIERS.search(name) and len(file.shapes.get(name, ())) == 2:
            return f'classifier of {file.shapes[name][0]} classes'
    if any(reason in ('MAE decoder', 'decoder of the pretraining model') for reason in file.left_over.values()):
        return 'MAE decoder'
    if any(re.match(r'(bbox|decode_head|auxiliary_head|roi|rpn|proposal)', name) for name in file.left_over):
        return 'detector or segmentor'
    return 'none that is known'


def _config_line(init: dict[str, str], file: EncoderFile) -> str:
    """Write the config that loads the file, with three dots where the file does not tell what is needed."""
    sizes, options = architecture(file), model_options(file)
    arguments = {name: repr(value) for name, value in options.known.items()}
    if not sizes.variant or not isinstance(options.known['variant'], str):
        heads = options.known['variant'].get('num_heads', '...')
        arguments['variant'] = f'dict(embed_dim={sizes.embed_dim}, depth={sizes.depth}, num_heads={heads})'
    if 'window_size' in options.untold:
        arguments['window_size'] = '...'
    told = ', '.join(f'{name}={value}' for name, value in arguments.items())
    given = ', '.join(f'{name}={value!r}' for name, value in init.items())
    return f"backbone=dict(type='PlainViT', {told}, init_cfg=dict(type='PretrainedViT', {given}))"
