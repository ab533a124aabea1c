"""Translate BEiT's parameter names, official or timm's, to PlainViT's.

This serves BEiT v1 and v2, and timm's names of layer scale. It expects names without wrapper or prefix.
"""

import re
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from backbones.checkpoint.resize import is_rel_pos, is_table

TABLE = 'relative_position_bias_table'
SHARED_TABLE = f'rel_pos_bias.{TABLE}'
LAYER_SCALE = {'ls1.gamma': 'gamma_1', 'ls2.gamma': 'gamma_2'}


def convert_beit(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Translate BEiT's names to PlainViT's; other names pass through.

    Args:
        tensors: an encoder's tensors.

    Returns:
        the tensors under PlainViT's names, and name -> reason for those left over. BEiT's names in combinations that
        BEiT does not have (``q_bias`` beside ``qkv.bias``) are kept, so that the report complains about them.
    """
    converted, left_over = {}, {}
    for name, tensor in tensors.items():
        start, _, end = name.rpartition('.')
        if end == 'relative_position_index':
            left_over[name] = 'index of relative positions, computed instead'
        elif end in ('q_bias', 'v_bias') and _has_qv_bias(tensors, start):
            # cat(q_bias, 0, v_bias): a bias on K changes nothing, see Attention
            query, value = tensors[f'{start}.q_bias'], tensors[f'{start}.v_bias']
            converted[f'{start}.qkv.bias'] = torch.cat([query, torch.zeros_like(query), value])
        else:
            converted[_plain_name(name)] = tensor
    return converted, left_over


def name_as_published(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undo `convert_beit`: to BEiT's names if the encoder has BEiT's tables, else to timm's names of layer scale.

    With BEiT's names the bias on K is dropped: it adds the same to all scores of a query, which softmax ignores.

    Args:
        tensors: an encoder's tensors under PlainViT's names.
    """
    has_tables = any(is_table(name) for name in tensors)
    scale_names = {} if has_tables else {ours: theirs for theirs, ours in LAYER_SCALE.items()}
    published = {}
    for name, tensor in tensors.items():
        start, _, end = name.rpartition('.')
        if has_tables and name.endswith('.attn.qkv.bias'):
            attention = name.removesuffix('.qkv.bias')
            # (3 D,) -> (D,) three times
            published[f'{attention}.q_bias'], _, published[f'{attention}.v_bias'] = tensor.chunk(3)
        else:
            published[f'{start}.{scale_names[end]}' if end in scale_names else name] = tensor
    return published


def spread_shared_table(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy a shared relative-position table to each block if the model has one table per block, as BEiT does.

    Args:
        tensors: an encoder's tensors under PlainViT's names.
        own: the model's tensors.

    Returns:
        ``tensors`` itself where there is nothing to spread.
    """
    names = [name for name in own if re.fullmatch(rf'blocks\.\d+\.attn\.{TABLE}', name)]
    if SHARED_TABLE not in tensors or SHARED_TABLE in own or not names:
        return tensors
    others = {name: tensor for name, tensor in tensors.items() if name != SHARED_TABLE}
    return dict.fromkeys(names, tensors[SHARED_TABLE]) | others


def options_of(tensors: Collection[str]) -> dict[str, Any]:
    """Derive the options for positions and layer scale of the PlainViT that has these parameters.

    Returns:
        the options that differ from the defaults; layer scale is 1.0, as its initial value leaves no trace.
    """
    options: dict[str, Any] = {}
    if SHARED_TABLE in tensors:
        options['rel_pos'] = 'shared_table'
    elif any(is_table(name) for name in tensors):
        options['rel_pos'] = 'table'
    elif any(is_rel_pos(name) for name in tensors):
        options['rel_pos'] = 'decomposed'
    if options and 'pos_embed' not in tensors:
        options['use_abs_pos'] = False
    if 'blocks.0.gamma_1' in tensors:
        options['layer_scale'] = 1.0
    return options


def _has_qv_bias(tensors: dict[str, Tensor], attention: str) -> bool:
    has = {end: f'{attention}.{end}' in tensors for end in ('q_bias', 'v_bias', 'qkv.bias')}
    return has['q_bias'] and has['v_bias'] and not has['qkv.bias']


def _plain_name(name: str) -> str:
    block = re.fullmatch(r'(blocks\.\d+\.)(.+)', name)
    return block.group(1) + LAYER_SCALE.get(block.group(2), block.group(2)) if block else name
