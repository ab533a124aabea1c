"""The checkpoint formats the door reads, each as one row of a table.

A row says what is wrapped around the encoder and in which dialect (`backbones.checkpoint_dialects`) it is named.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from backbones.checkpoint_convert_beit import convert_beit
from backbones.checkpoint_dialects import (
    MAE,
    MMSEG_VIT,
    OPENMMLAB,
    TRANSFORMERS_V4,
    TRANSFORMERS_V5,
    TRANSFORMERS_VITDET,
    Dialect,
    to_ours,
)
from backbones.vit import VARIANTS

# Names of an encoder's file that belong to no backbone: (start of the name, why it is left over).
ENCODER_EXTRAS = (
    ('decoder_', 'MAE decoder'),
    ('mask_token', 'mask token of pretraining'),
    ('lm_head.', 'head that predicts visual tokens'),
    ('cls_pt_', 'layers that BEiT v2 has in pretraining only'),
    ('head.', 'classification head'),
    ('head_dist.', 'head of the distillation token'),
    ('fc_norm.', "norm of a classifier's pooled features"),
    ('pooler.', "layer on the class token's output"),
)
# Wrappers (DistributedDataParallel) put this in front of every name ...
WRAPPER = 'module.'
# ... and others (torch.compile, FSDP, activation checkpointing) put these anywhere in it.
INNER_WRAPPERS = re.compile(r'(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')
# Any encoder has these, with so many axes; files without them are not taken for one.
LANDMARKS = {'patch_embed.proj.weight': 4, 'blocks.0.attn.qkv.weight': 2}


@dataclass(frozen=True)
class Format:
    """One row: how to find the encoder in a file.

    Attributes:
        name: shown to users.
        wrapper: top-level key of the state dict; None where the file is the state dict.
        prefix: in front of the encoder's names.
        sign: start of a name that tells this format from the next rows; '' needs none.
        others: (start, reason) of the names outside the prefix.
        dialect: names of the encoder behind the prefix.
    """

    name: str
    wrapper: str | None
    prefix: str = ''
    sign: str = ''
    others: tuple[tuple[str, str], ...] = ()
    dialect: Dialect = MAE


_WHOLE_MODEL = (
    ('neck.decoder_', 'MAE decoder'),
    ('neck.mask_token', 'MAE decoder'),
    ('', 'neck, heads and preprocessor of the whole model'),
)
_TRANSFORMERS_HEADS = (
    ('decoder.', 'MAE decoder'),
    ('classifier.', 'classification head'),
    ('cls_classifier.', 'classification head'),
    ('distillation_classifier.', 'head of the distillation token'),
)
_DINO_HEAD = (('head.', 'DINO head'),)
_MOCO_OTHERS = (('momentum_encoder.', 'momentum encoder'), ('predictor.', 'MoCo v3 predictor'))

# The first row that fits is taken.
FORMATS = (
    Format(
        'dense-mae pretraining',
        'state_dict',
        prefix='encoder.',
        others=(
            ('decoder.', 'decoder of the pretraining model'),
            ('head.', 'head of the pretraining model'),
            ('mask_token', 'mask token of pretraining'),
            ('data_preprocessor.', 'pixel mean and standard deviation'),
        ),
    ),
    Format('detectron2 ViTDet', 'model', prefix='backbone.net.', others=(('', 'pyramid and heads of the detector'),)),
    Format(
        'dense-mae detector or segmentor',
        'state_dict',
        prefix='backbone.',
        others=(('', 'pyramid, heads and preprocessor of the fine-tuned model'),),
    ),
    Format('official BEiT', 'model', sign='blocks.0.attn.q_bias'),
    Format('official BEiT, saved by DeepSpeed', 'module', sign='blocks.0.attn.q_bias'),
    *(
        Format(name, wrapper, prefix, others=_WHOLE_MODEL if prefix else (), dialect=dialect)
        for name, prefix in (
            ('mmpretrain, mmselfsup, mmseg or mmdet', 'backbone.'),
            ('OpenMMLab, backbone alone', ''),
        )
        for wrapper in ('state_dict', None)
        for dialect in (OPENMMLAB, MMSEG_VIT)
    ),
    Format('MoCo v3', 'state_dict', prefix='base_encoder.', others=_MOCO_OTHERS),
    Format('DINO, teacher', 'teacher', prefix='backbone.', others=_DINO_HEAD),
    Format('DINO, student', 'student', prefix='backbone.', others=_DINO_HEAD),
    Format('DeiT, distilled', 'model', sign='dist_token'),
    Format('official MAE with decoder', 'model', sign='decoder_embed.'),
    Format('official MAE, encoder only', 'model'),
    *(
        Format('transformers', None, prefix, others=_TRANSFORMERS_HEADS if prefix else (), dialect=dialect)
        for prefix in ('vit.', 'deit.', 'beit.', '')
        for dialect in (TRANSFORMERS_V4, TRANSFORMERS_V5)
    ),
    *(Format('transformers VitDet', None, prefix, dialect=TRANSFORMERS_VITDET) for prefix in ('', 'backbone.')),
    Format('bare detector or segmentor', None, prefix='backbone.', others=_WHOLE_MODEL),
    Format('training run with MAE names', 'state_dict'),
    Format('timm', None),
)


@dataclass(frozen=True)
class EncoderFile:
    """An encoder taken out of its file.

    Attributes:
        source: the file, for messages.
        format: name of the format.
        tensors: the encoder's tensors under MAE's names.
        left_over: name in the file -> why it belongs to no backbone.
        unexpected: names in the file that nothing explains.
        shapes: name -> shape in the file, of what is left over and of tensors that lost rows.
    """

    source: str
    format: str
    tensors: dict[str, Tensor]
    left_over: dict[str, str]
    unexpected: list[str]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Architecture:
    """What the shapes in a file tell of the model (the number of heads leaves no trace)."""

    embed_dim: int
    depth: int
    patch_size: int
    in_channels: int

    def __str__(self) -> str:
        sizes = {(v['embed_dim'], v['depth']): name for name, v in VARIANTS.items()}
        variant = sizes.get((self.embed_dim, self.depth), 'custom')
        return (
            f'variant {variant} (embed_dim {self.embed_dim}, depth {self.depth}), '
            f'patch_size {self.patch_size}, in_channels {self.in_channels}'
        )


def recognise(content: dict[str, Any], source: str) -> EncoderFile:
    """Find the encoder in what `read_checkpoint` returned.

    Args:
        content: top-level dict of the file.
        source: the file's name, for messages.

    Raises:
        ValueError: no format fits; the message lists those that are read.
    """
    for row in FORMATS:
        state = _state_dict(content, row)
        if state is not None and _fits(state, row):
            return _take(state, row, source)
    keys = ', '.join(str(key) for key in list(content)[:8]) or 'none'
    known = '; '.join(dict.fromkeys(row.name for row in FORMATS))
    raise ValueError(f'{source} is of no known format (its first keys: {keys}). Formats read: {known}')


def architecture(tensors: dict[str, Tensor]) -> Architecture:
    """Read the sizes of an encoder off its shapes."""
    embed_dim, in_channels, patch_size, _ = tensors['patch_embed.proj.weight'].shape
    found = (re.match(r'blocks\.(\d+)\.', name) for name in tensors)
    depth = 1 + max(int(match.group(1)) for match in found if match)
    return Architecture(embed_dim, depth, patch_size, in_channels)


def _state_dict(content: dict[str, Any], row: Format) -> dict[str, Tensor] | None:
    state = content if row.wrapper is None else content.get(row.wrapper)
    if not isinstance(state, dict) or not state:
        return None
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()):
        return None
    names = [INNER_WRAPPERS.sub('', name) for name in state]
    while all(name.startswith(WRAPPER) for name in names):
        names = [name.removeprefix(WRAPPER) for name in names]
    # Two names made one by this are no wrapped model.
    return dict(zip(names, state.values(), strict=True)) if len(set(names)) == len(names) else None


def _fits(state: dict[str, Tensor], row: Format) -> bool:
    # Two axes of patches: video encoders have three, some others a linear layer.
    for name, axes in LANDMARKS.items():
        theirs = [row.prefix + part for part in row.dialect.theirs(name)]
        if any(part not in state or state[part].ndim != axes for part in theirs):
            return False
    return any(name.startswith(row.sign) for name in state)


def _take(state: dict[str, Tensor], row: Format, source: str) -> EncoderFile:
    inside = {name[len(row.prefix) :]: value for name, value in state.items() if name.startswith(row.prefix)}
    outside = [name for name in state if not name.startswith(row.prefix)]
    tensors, left_over, unexpected = to_ours(inside, row.dialect)
    tensors, indices = convert_beit(tensors)
    left_over |= indices
    shapes = _drop_distillation(tensors, left_over)
    for name in list(tensors):
        reason = _explain(name, ENCODER_EXTRAS)
        if reason:
            left_over[name] = reason
            shapes[name] = tuple(tensors.pop(name).shape)
    for name in outside:
        shapes[name] = tuple(state[name].shape)
        reason = _explain(name, row.others)
        if reason:
            left_over[name] = reason
        else:
            unexpected.append(name)
    return EncoderFile(source, row.name, tensors, left_over, unexpected, shapes)


def _drop_distillation(tensors: dict[str, Tensor], left_over: dict[str, str]) -> dict[str, tuple[int, ...]]:
    """Take DeiT's second token and row 1 of its positions out; returns the shapes these had."""
    if 'dist_token' not in tensors or 'pos_embed' not in tensors:
        return {}
    table = tensors['pos_embed']
    # Other files may call something else so; without its row it stays, and is unexpected.
    if math.isqrt(table.shape[1] - 2) ** 2 != table.shape[1] - 2:
        return {}
    # (1, 2 + H * W, D) -> (1, 1 + H * W, D)
    tensors['pos_embed'] = torch.cat([table[:, :1], table[:, 2:]], dim=1)
    token = tensors.pop('dist_token')
    left_over['dist_token'] = 'distillation token, which PlainViT lacks: the other tokens no longer attend to it'
    return {'pos_embed': tuple(table.shape), 'dist_token': tuple(token.shape)}


def _explain(name: str, table: tuple[tuple[str, str], ...]) -> str | None:
    return next((reason for start, reason in table if name.startswith(start)), None)
