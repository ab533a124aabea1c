"""How each project names the parameters of a plain ViT: tables that translate to and from MAE's names."""

import re
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from backbones.checkpoint.states import same

# (start of the project's name, start of the name in MAE's files); the first matching pair counts.
Pairs: TypeAlias = tuple[tuple[str, str], ...]
QKV = 'attn.qkv.'


@dataclass(frozen=True)
class Dialect:
    """Names of one project; names that no pair covers are the same as in MAE's files.

    Attributes:
        blocks: text in front of a block's number.
        outside: pairs for names outside the blocks.
        inside: pairs for the rest of a name, after the block's number.
        qkv: names of query, key and value if they are three layers; joined they are ``attn.qkv``.
    """

    blocks: str = 'blocks.'
    outside: Pairs = ()
    inside: Pairs = ()
    qkv: tuple[str, str, str] | None = None

    def ours(self, name: str) -> tuple[str, int | None]:
        """Translate to MAE's name, and tell which third of that tensor this is (None: the whole)."""
        block = re.match(re.escape(self.blocks) + r'(\d+)\.', name)
        if not block:
            return _swap(name, self.outside), None
        start, rest = f'blocks.{block.group(1)}.', name[block.end() :]
        for third, part in enumerate(self.qkv or ()):
            if rest.startswith(part):
                return start + QKV + rest[len(part) :], third
        return start + _swap(rest, self.inside), None

    def theirs(self, name: str) -> tuple[str, ...]:
        """Translate one of MAE's names to one name, or to three if query, key and value are separate."""
        block = re.match(r'blocks\.(\d+)\.', name)
        if not block:
            return (_swap(name, _inverse(self.outside)),)
        start, rest = f'{self.blocks}{block.group(1)}.', name[block.end() :]
        if self.qkv and rest.startswith(QKV):
            return tuple(start + part + rest[len(QKV) :] for part in self.qkv)
        return (start + _swap(rest, _inverse(self.inside)),)


MAE = Dialect()
# mmpretrain, mmselfsup 1.x, and the MAE and BEiT of mmseg.
OPENMMLAB = Dialect(
    blocks='layers.',
    outside=(('patch_embed.projection.', 'patch_embed.proj.'), ('ln1.', 'norm.'), ('ln2.', 'fc_norm.')),
    inside=(
        ('ln1.', 'norm1.'),
        ('ln2.', 'norm2.'),
        ('ffn.layers.0.0.', 'mlp.fc1.'),
        ('ffn.layers.1.', 'mlp.fc2.'),
    ),
)
# mmseg's VisionTransformer attends through torch.nn.MultiheadAttention.
MMSEG_VIT = Dialect(
    blocks=OPENMMLAB.blocks,
    outside=OPENMMLAB.outside,
    inside=(*OPENMMLAB.inside, ('attn.attn.in_proj_', QKV), ('attn.attn.out_proj.', 'attn.proj.')),
)
_EMBEDDINGS: Pairs = (
    ('embeddings.cls_token', 'cls_token'),
    ('embeddings.distillation_token', 'dist_token'),
    ('embeddings.mask_token', 'mask_token'),
    ('embeddings.register_tokens', 'register_tokens'),
    ('embeddings.position_embeddings', 'pos_embed'),
    ('embeddings.patch_embeddings.projection.', 'patch_embed.proj.'),
    ('layernorm.', 'norm.'),
    # BEiT's shared table, in versions 4 and 5.
    ('encoder.relative_position_bias.', 'rel_pos_bias.'),
    ('shared_position_bias.', 'rel_pos_bias.'),
)
# Names in BEiT and in DINOv2.
_LAYER_SCALE: Pairs = (
    ('lambda_1', 'gamma_1'),
    ('lambda_2', 'gamma_2'),
    ('layer_scale1.lambda1', 'gamma_1'),
    ('layer_scale2.lambda1', 'gamma_2'),
)
# Names in the published files, which version 5 still writes; its modules use the names of TRANSFORMERS_V5.
TRANSFORMERS_V4 = Dialect(
    blocks='encoder.layer.',
    outside=_EMBEDDINGS,
    inside=(
        ('attention.output.dense.', 'attn.proj.'),
        ('intermediate.dense.', 'mlp.fc1.'),
        ('output.dense.', 'mlp.fc2.'),
        ('layernorm_before.', 'norm1.'),
        ('layernorm_after.', 'norm2.'),
        ('attention.attention.relative_position_bias.', 'attn.'),
        *_LAYER_SCALE,
    ),
    qkv=('attention.attention.query.', 'attention.attention.key.', 'attention.attention.value.'),
)
TRANSFORMERS_V5 = Dialect(
    blocks='layers.',
    outside=_EMBEDDINGS,
    inside=(
        ('attention.o_proj.', 'attn.proj.'),
        ('layernorm_before.', 'norm1.'),
        ('layernorm_after.', 'norm2.'),
        ('relative_position_bias.', 'attn.'),
        *_LAYER_SCALE,
    ),
    qkv=('attention.q_proj.', 'attention.k_proj.', 'attention.v_proj.'),
)
# DINOv2's modules in version 5. Its files have version 4's names, which differ from ViT's in norm1, norm2 and mlp only.
TRANSFORMERS_DINOV2 = Dialect(
    blocks='encoder.layer.',
    outside=_EMBEDDINGS,
    inside=(('attention.o_proj.', 'attn.proj.'), *_LAYER_SCALE),
    qkv=('attention.q_proj.', 'attention.k_proj.', 'attention.v_proj.'),
)
TRANSFORMERS_SAM = Dialect(
    blocks='layers.',
    outside=(('patch_embed.projection.', 'patch_embed.proj.'),),
    inside=(
        ('layer_norm1.', 'norm1.'),
        ('layer_norm2.', 'norm2.'),
        ('mlp.lin1.', 'mlp.fc1.'),
        ('mlp.lin2.', 'mlp.fc2.'),
    ),
)
# Segment Anything (arXiv 2304.02643); timm's copy uses MAE's names.
SAM = Dialect(inside=(('mlp.lin1.', 'mlp.fc1.'), ('mlp.lin2.', 'mlp.fc2.')))
TRANSFORMERS_VITDET = Dialect(
    blocks='encoder.layer.',
    outside=(('embeddings.position_embeddings', 'pos_embed'), ('embeddings.projection.', 'patch_embed.proj.')),
    inside=(('attention.', 'attn.'),),
)


def to_ours(state: dict[str, Tensor], dialect: Dialect) -> tuple[dict[str, Tensor], dict[str, str], list[str]]:
    """Translate a state dict to MAE's names, and join query, key and value.

    Returns:
        tensors under MAE's names (parts of an incomplete query-key-value keep their own names); names of duplicate
        tensors -> why they are left over; names that translate like another one but hold a different tensor.
    """
    tensors: dict[str, Tensor] = {}
    thirds: dict[str, dict[int, str]] = {}
    doubles: dict[str, str] = {}
    clashes: list[str] = []
    is_beit = any(name.endswith('.relative_position_bias_table') for name in state)
    for name, value in state.items():
        own_name, third = dialect.ours(name)
        if third is not None:
            thirds.setdefault(own_name, {})[third] = name
        elif own_name not in tensors:
            tensors[own_name] = value
        elif same(tensors[own_name], value):
            doubles[name] = f'stored twice, as {own_name} too'
        else:
            clashes.append(name)
    for own_name, names in thirds.items():
        if len(names) == 3:
            tensors[own_name] = torch.cat([state[names[third]] for third in range(3)])
        elif is_beit and set(names) == {0, 2} and own_name.endswith(QKV + 'bias'):
            # BEiT has no bias on K, and calls the other two by these names.
            attention = own_name.removesuffix('qkv.bias')
            tensors |= {attention + 'q_bias': state[names[0]], attention + 'v_bias': state[names[2]]}
        else:
            tensors |= {name: state[name] for name in names.values()}
    return tensors, doubles, clashes


def to_theirs(tensors: dict[str, Tensor], dialect: Dialect) -> dict[str, Tensor]:
    """Undo `to_ours`: translate MAE's names to a project's."""
    renamed: dict[str, Tensor] = {}
    for name, value in tensors.items():
        names = dialect.theirs(name)
        # (3 D, ...) -> (D, ...) three times where query, key and value are separate
        renamed |= dict(zip(names, value.chunk(len(names)), strict=True))
    return renamed


def _swap(name: str, pairs: Pairs) -> str:
    return next((new + name[len(old) :] for old, new in pairs if name.startswith(old)), name)


def _inverse(pairs: Pairs) -> Pairs:
    return tuple((ours, theirs) for theirs, ours in pairs)
