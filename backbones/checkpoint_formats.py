"""The checkpoint formats the door reads, each as one row of a table.

All of them store the encoder under MAE's and timm's parameter names; they differ in what is wrapped around it.
"""

import re
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from backbones.checkpoint_convert_beit import convert_beit
from backbones.vit import VARIANTS

# Names of an encoder's file that belong to no backbone: (start of the name, why it is left over).
ENCODER_EXTRAS = (
    ('decoder_', 'MAE decoder'),
    ('mask_token', 'mask token of pretraining'),
    ('lm_head.', 'head that predicts visual tokens'),
    ('cls_pt_', 'layers that BEiT v2 has in pretraining only'),
    ('head.', 'classification head'),
    ('fc_norm.', "norm of a classifier's pooled features"),
)
# Wrappers (DistributedDataParallel, torch.compile) put these in front of every name.
WRAPPERS = ('module.', '_orig_mod.')
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
    """

    name: str
    wrapper: str | None
    prefix: str = ''
    sign: str = ''
    others: tuple[tuple[str, str], ...] = ()


# The first row that fits is taken.
FORMATS = (
    Format(
        'dense-mae pretraining',
        'state_dict',
        prefix='encoder.',
        sign='decoder.',
        others=(
            ('decoder.', 'decoder of the pretraining model'),
            ('data_preprocessor.', 'pixel mean and standard deviation'),
        ),
    ),
    Format(
        'dense-mae detector or segmentor',
        'state_dict',
        prefix='backbone.',
        others=(('', 'pyramid, heads and preprocessor of the fine-tuned model'),),
    ),
    Format('official BEiT', 'model', sign='blocks.0.attn.q_bias'),
    Format('official BEiT, saved by DeepSpeed', 'module', sign='blocks.0.attn.q_bias'),
    Format('official MAE with decoder', 'model', sign='decoder_embed.'),
    Format('official MAE, encoder only', 'model'),
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
    """

    source: str
    format: str
    tensors: dict[str, Tensor]
    left_over: dict[str, str]
    unexpected: list[str]


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
    known = '; '.join(row.name for row in FORMATS)
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
    while wrapper := next((w for w in WRAPPERS if all(name.startswith(w) for name in state)), None):
        state = {name[len(wrapper) :]: value for name, value in state.items()}
    return state


def _fits(state: dict[str, Tensor], row: Format) -> bool:
    # Two axes of patches: video encoders have three, some others a linear layer.
    ranks = [state[row.prefix + name].ndim if row.prefix + name in state else None for name in LANDMARKS]
    return ranks == list(LANDMARKS.values()) and any(name.startswith(row.sign) for name in state)


def _take(state: dict[str, Tensor], row: Format, source: str) -> EncoderFile:
    tensors, left_over, unexpected = {}, {}, []
    for name, value in state.items():
        inside = name.startswith(row.prefix)
        own_name = name[len(row.prefix) :] if inside else name
        reason = _explain(own_name, ENCODER_EXTRAS if inside else row.others)
        if reason:
            left_over[name] = reason
        elif inside:
            tensors[own_name] = value
        else:
            unexpected.append(name)
    tensors, reasons = convert_beit(tensors)
    left_over |= {row.prefix + name: reason for name, reason in reasons.items()}
    return EncoderFile(source, row.name, tensors, left_over, unexpected)


def _explain(name: str, table: tuple[tuple[str, str], ...]) -> str | None:
    return next((reason for start, reason in table if name.startswith(start)), None)
