"""Peers' weights under our names."""

from collections.abc import Mapping

import torch
from torch import Tensor

# transformers' ViTMAEForPreTraining, and VitDetBackbone.
MAE_NAMES = {
    'vit.embeddings.cls_token': 'encoder.cls_token',
    'vit.embeddings.position_embeddings': 'encoder.pos_embed',
    'vit.embeddings.patch_embeddings.projection': 'encoder.patch_embed.proj',
    'vit.layers': 'encoder.blocks',
    'vit.layernorm': 'encoder.norm',
    'decoder.decoder_layers': 'decoder.blocks',
    'decoder.decoder_pos_embed': 'decoder.pos_embed',
    'decoder.decoder_': 'decoder.',
    'layernorm_before': 'norm1',
    'layernorm_after': 'norm2',
    'attention.o_proj': 'attn.proj',
}
VITDET_NAMES = {
    'embeddings.position_embeddings': 'pos_embed',
    'embeddings.projection': 'patch_embed.proj',
    'encoder.layer': 'blocks',
    'attention.': 'attn.',
}


def renamed(name: str, names: Mapping[str, str]) -> str:
    """Replace the parts of a parameter's name, in the order of the table."""
    for theirs, ours in names.items():
        name = name.replace(theirs, ours)
    return name


def mae_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of ViTMAEForPreTraining under the names of `MaskedAutoencoder`, with query, key and value joined."""
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for theirs, value in tensors.items():
        name = renamed(theirs, MAE_NAMES)
        if any(f'attention.{part}_proj' in name for part in 'qkv'):
            start, part = name.split('attention.')
            parts.setdefault(f'{start}attn.qkv.{part.split(".")[1]}', {})[part[0]] = value
        else:
            found[name] = value
    return found | {name: torch.cat([values[part] for part in 'qkv']) for name, values in parts.items()}


def vitdet_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of VitDetBackbone under the names of `PlainViT`."""
    return {renamed(name, VITDET_NAMES): value for name, value in tensors.items()}
