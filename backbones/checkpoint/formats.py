"""Table of the checkpoint formats that can be read, one row each.

A row says what is wrapped around the encoder, and which dialect (`backbones.checkpoint.dialects`) names it.
"""

from dataclasses import dataclass

from torch import Tensor

from backbones.checkpoint.dialects import (
    MAE,
    MMSEG_VIT,
    OPENMMLAB,
    SAM,
    TRANSFORMERS_DINOV2,
    TRANSFORMERS_SAM,
    TRANSFORMERS_V4,
    TRANSFORMERS_V5,
    TRANSFORMERS_VITDET,
    Dialect,
)
from backbones.checkpoint.states import choose, plain_key

# Names beside an encoder's own that belong to no backbone: (start of the name, why it is left over).
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
# Every encoder has these names, with this many axes; a file without them holds no encoder.
LANDMARKS = {'patch_embed.proj.weight': 4, 'blocks.0.attn.qkv.weight': 2}


@dataclass(frozen=True)
class Format:
    """One row: how to find the encoder in a file.

    Attributes:
        name: shown to users.
        wrapper: top-level key of the state dict; None if it may be the file itself or lie under any key.
        prefix: text in front of the encoder's names.
        sign: start of a name that tells this format from later rows; '' if it needs none.
        others: (start, reason) for names outside the prefix.
        dialect: dialect of the encoder's names after the prefix.
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
_DINO_HEAD = (('head.', 'DINO head'), ('dino_head.', 'DINO head'), ('ibot_head.', 'iBOT head'))
_SAM_OTHERS = (
    ('prompt_encoder.', "SAM's prompt encoder"),
    ('mask_decoder.', "SAM's mask decoder"),
    ('shared_image_embedding.', "SAM's prompt encoder"),
)
_MOCO_OTHERS = (('momentum_encoder.', 'momentum encoder'), ('predictor.', 'MoCo v3 predictor'))

# The first matching row counts.
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
        Format(
            'transformers SAM',
            None,
            prefix,
            sign=f'{prefix}layers.0.layer_norm1.',
            others=_SAM_OTHERS,
            dialect=TRANSFORMERS_SAM,
        )
        for prefix in ('vision_encoder.', '')
    ),
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
        for prefix in ('vit.', 'deit.', 'beit.', 'dinov2.', 'dinov2_with_registers.', '')
        for dialect in (TRANSFORMERS_V4, TRANSFORMERS_V5, TRANSFORMERS_DINOV2)
    ),
    *(Format('transformers VitDet', None, prefix, dialect=TRANSFORMERS_VITDET) for prefix in ('', 'backbone.')),
    Format('SAM', None, prefix='image_encoder.', others=_SAM_OTHERS, dialect=SAM),
    Format('bare detector or segmentor', None, prefix='backbone.', others=_WHOLE_MODEL),
    Format('training run with MAE names', 'state_dict'),
    Format('timm', None),
)

_OTHER_NAMINGS = (
    ('OpenMMLab', (OPENMMLAB, MMSEG_VIT)),
    ('transformers', (TRANSFORMERS_V4, TRANSFORMERS_V5, TRANSFORMERS_DINOV2, TRANSFORMERS_VITDET)),
)
# Who names an encoder in which way, for prefixes that no row has. SAM's dialect includes MAE's names.
NAMINGS = (
    ("MAE's names", SAM),
    *((f"{who}'s names", dialect) for who, dialects in _OTHER_NAMINGS for dialect in dialects),
)


def fits(tensors: dict[str, Tensor], row: Format) -> bool:
    """Whether a state dict holds an encoder as the row describes it."""
    # Patches have two axes here; video encoders have three, and some others use a linear layer.
    for name, axes in LANDMARKS.items():
        theirs = [row.prefix + part for part in row.dialect.theirs(name)]
        if any(part not in tensors or tensors[part].ndim != axes for part in theirs):
            return False
    return any(name.startswith(row.sign) for name in tensors)


def find_row(tensors: dict[str, Tensor], key: str, prefix: str | None = None) -> Format | None:
    """Find the row for a state dict.

    Args:
        tensors: the state dict, without wrappers in its names.
        key: its place in the file, ``''`` for the file itself.
        prefix: text in front of the encoder's names; None searches for it.

    Raises:
        ValueError: several prefixes lead to an encoder, and nothing tells which is meant.
    """
    if prefix is not None:
        return next((row for row in _rows_behind(tensors) if row.prefix == prefix), None)
    wrappers = (None, key, plain_key(key))
    row = next((row for row in FORMATS if row.wrapper in wrappers and fits(tensors, row)), None)
    if row:
        return row
    rows = {row.prefix: row for row in reversed(_rows_behind(tensors))}
    if len(rows) < 2:
        return next(iter(rows.values()), None)
    chosen = choose(rows)
    if not chosen:
        raise ValueError(
            f'encoders lie behind {", ".join(sorted(map(repr, rows)))}: say which by prefix=, such as '
            f'prefix={min(rows)!r}'
        )
    return rows[chosen[0]]


def encoder_prefixes(tensors: dict[str, Tensor]) -> set[str]:
    """All prefixes that lead to an encoder."""
    return {row.prefix for row in _rows_behind(tensors)}


def _rows_behind(tensors: dict[str, Tensor]) -> list[Format]:
    """Make a row for every prefix that leads to an encoder, in any dialect."""
    rows = []
    for who, dialect in NAMINGS:
        end = dialect.theirs('patch_embed.proj.weight')[0]
        for prefix in sorted(name.removesuffix(end) for name in tensors if name.endswith(end)):
            others = (('', f'outside of {prefix!r}, where the encoder is'),) if prefix else ()
            row = Format(f'{who} behind {prefix!r}' if prefix else who, None, prefix, others=others, dialect=dialect)
            if prefix[-1:] in ('', '.') and fits(tensors, row):
                rows.append(row)
    return rows
