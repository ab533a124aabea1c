"""Find out heads, activation and epsilon, which shapes do not tell, from a file's config, arguments or neighbours."""

import argparse
import importlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from backbones.checkpoint.config_text import read_model_config
from backbones.checkpoint.hub import find_cached
from backbones.vit.layers import LAYER_NORM_EPS
from backbones.vit.variants import variant_sizes

# PlainViT's activation. Other names in transformers' configs mean approximations of it or other functions.
GELU = 'gelu'
MOCO_ARCHITECTURES = ('vit_small', 'vit_conv_small')
MOCO_SMALL_HEADS = 12


@dataclass(frozen=True)
class Told:
    """What is known beyond the tensors; None stands for unknown.

    Attributes:
        heads: number of attention heads.
        activation: ``'gelu'`` for exact GELU, or another name.
        eps: epsilon of the norms.
        by: source of this knowledge.
        options: arguments of our own `PlainViT` in the run's config.
    """

    heads: int | None = None
    activation: str | None = None
    eps: float | None = None
    by: str = ''
    options: dict[str, Any] = field(default_factory=dict)


NOTHING_TOLD = Told()


def told_by(content: dict[str, Any], source: str, format_name: str, tensors: dict[str, Tensor]) -> Told:
    """Ask all sources of knowledge, the most reliable first.

    Args:
        content: top-level dict of the file.
        source: the file, as the user gave it.
        format_name: name of its format.
        tensors: the encoder's tensors under MAE's names.
    """
    width, depth, beside = tensors['patch_embed.proj.weight'].shape[0], depth_of(tensors), config_beside(source)
    asked: list[Callable[[], Told]] = [
        lambda: _by_config(content),
        lambda: _by_moco(content, format_name, width),
        lambda: _by_transformers(beside, width),
        *(partial(_by_timm, name, width, depth) for name in _architectures(content, source, beside)),
        lambda: _by_tables(tensors, width),
    ]
    return next((told for told in (ask() for ask in asked) if told != NOTHING_TOLD), NOTHING_TOLD)


def depth_of(tensors: dict[str, Tensor]) -> int:
    """Number of blocks of an encoder."""
    found = (re.match(r'blocks\.(\d+)\.', name) for name in tensors)
    return 1 + max(int(match.group(1)) for match in found if match)


def _by_config(content: dict[str, Any]) -> Told:
    """Read the config of one of our own runs."""
    meta = content.get('meta')
    text = meta.get('cfg') if isinstance(meta, dict) else None
    try:
        model = read_model_config(text) if isinstance(text, str) and text else {}
        vit = model.get('encoder', model.get('backbone'))
        if not isinstance(vit, dict) or str(vit.get('type')).split('.')[-1] != 'PlainViT':
            return NOTHING_TOLD
        options = {name: value for name, value in vit.items() if name != 'type'}
        heads = variant_sizes(options.get('variant', 'base'))[2]
    # The config is not made of values alone, or is from another version of ours: rely on the tensors.
    except (ValueError, AttributeError, TypeError):
        return NOTHING_TOLD
    return Told(heads, GELU, LAYER_NORM_EPS, 'the config in it', options)


def _by_moco(content: dict[str, Any], format_name: str, width: int) -> Told:
    """Recognise MoCo v3's ViT-S, which has 12 heads; those of DeiT, DINO and MAE have 6."""
    if width == 384 and (format_name == 'MoCo v3' or content.get('arch') in MOCO_ARCHITECTURES):
        return Told(MOCO_SMALL_HEADS, GELU, LAYER_NORM_EPS, "MoCo v3's ViT-S")
    return NOTHING_TOLD


def config_beside(source: str) -> dict[str, Any]:
    """Read the ``config.json`` beside a file, as in Hugging Face repositories; empty if there is none."""
    try:
        config = json.loads((find_cached(source) or Path(source)).with_name('config.json').read_text())
    # There is no such file, it is not JSON, or the source is not a file name.
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _by_transformers(config: dict[str, Any], width: int) -> Told:
    config = config['vision_config'] if isinstance(config.get('vision_config'), dict) else config
    if config.get('hidden_size') != width:
        return NOTHING_TOLD
    return Told(
        config.get('num_attention_heads'),
        config.get('hidden_act'),
        config.get('layer_norm_eps'),
        'config.json beside it',
    )


def _architectures(content: dict[str, Any], source: str, beside: dict[str, Any]) -> list[str]:
    """Architecture names known to timm, from a hub name, the file's arguments or the config beside it."""
    args = content.get('args')
    told = vars(args) if isinstance(args, argparse.Namespace) else args if isinstance(args, dict) else {}
    hub = re.fullmatch(r'(?:hf(?:-hub)?:)?timm/([^@:]+).*', source)
    found = [hub and hub.group(1), content.get('arch'), told.get('model'), told.get('arch'), beside.get('architecture')]
    # The part after a dot names the weights.
    names = [name.split('.')[0] for name in found if isinstance(name, str)]
    return [name for name in names if _timm().is_model(name)]


def _timm() -> Any:
    # timm takes seconds to import, and only files that name a model need it.
    return importlib.import_module('timm')


def _by_timm(name: str, width: int, depth: int) -> Told:
    """Build a model that timm knows by name, without memory, and read it."""
    with torch.device('meta'):
        model = _timm().create_model(name, pretrained=False)
    blocks = getattr(model, 'blocks', None)
    if getattr(model, 'embed_dim', None) != width or not isinstance(blocks, nn.Sequential) or len(blocks) != depth:
        return NOTHING_TOLD
    block: Any = blocks[0]
    activation = block.mlp.act
    exact = isinstance(activation, nn.GELU) and activation.approximate == 'none'
    kind = GELU if exact else type(activation).__name__
    return Told(block.attn.num_heads, kind, block.norm1.eps, f"timm's {name}")


def _by_tables(tensors: dict[str, Tensor], width: int) -> Told:
    """Use relative-position tables: BEiT's have a column per head, decomposed ones are as wide as a head."""
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and tensor.shape[1]:
            if name.endswith('relative_position_bias_table'):
                return Told(tensor.shape[1], by='its tables')
            if name.endswith('.rel_pos_h') and not width % tensor.shape[1]:
                return Told(width // tensor.shape[1], by='its tables')
    return NOTHING_TOLD
