"""Layer-wise learning-rate decay for any model whose backbone knows the depth of its parameters.

The learning rate of a parameter is ``lr * rate ** (depth + 1 - param_depth)`` (BEiT, arXiv 2106.08254, and MAE):
embeddings get the lowest rate, pyramids and heads the full one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import nn

from backbones.pyramid import LayerNorm2d

Rule: TypeAlias = Callable[[str, nn.Parameter, nn.Module], bool]

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)
# Parts that torch.compile and activation checkpointing insert into parameter names.
WRAPPER_NAMES = ('_orig_mod.', '_checkpoint_wrapped_module.')


def is_vector(name: str, parameter: nn.Parameter, owner: nn.Module) -> bool:
    """Whether the parameter is a bias, a norm's weight or another vector or scalar."""
    return parameter.ndim <= 1


def is_norm(name: str, parameter: nn.Parameter, owner: nn.Module) -> bool:
    """Whether the parameter belongs to a normalisation layer."""
    return isinstance(owner, NORMS)


def is_token_norm(name: str, parameter: nn.Parameter, owner: nn.Module) -> bool:
    """Whether the parameter belongs to what detectron2 counts as a norm, which excludes its channel norm of maps."""
    return is_norm(name, parameter, owner) and not isinstance(owner, LayerNorm2d)


def is_pos_embed(name: str, parameter: nn.Parameter, owner: nn.Module) -> bool:
    """Whether the parameter is the absolute position table."""
    return name.split('.')[-1] in ('pos_embed', 'global_pos_embed')


def is_cls_token(name: str, parameter: nn.Parameter, owner: nn.Module) -> bool:
    """Whether the parameter is the class token."""
    return name.split('.')[-1] == 'cls_token'


def is_rel_pos(name: str, parameter: nn.Parameter, owner: nn.Module) -> bool:
    """Whether the parameter is a relative-position table, decomposed or BEiT's."""
    return name.split('.')[-1].startswith(('rel_pos_', 'relative_position_bias_table'))


# Parameters exempt from weight decay, by recipe.
PRESETS: dict[str, tuple[Rule, ...]] = {
    # MAE's fine-tuning code as intended; ViTAE's ViTDet amounts to the same.
    'mae': (is_vector, is_pos_embed, is_cls_token, is_rel_pos),
    # detectron2's ViTDet, base and large: biases, relative positions and the pyramid's norms are decayed.
    'vitdet': (is_token_norm, is_pos_embed),
    # detectron2's ViTDet, huge.
    'vitdet_huge': (),
    # mmdet's ViTDet project.
    'mmdet': (is_norm, is_pos_embed),
    # BEiT's fine-tuning code: relative positions are decayed.
    'beit_classify': (is_vector, is_pos_embed, is_cls_token),
    # BEiT's segmentation code, mmseg and ViT-Adapter as they run: their test for positions and class token never
    # matches, so that all their published numbers decay these, like relative positions.
    'beit': (is_vector,),
}


@dataclass(frozen=True)
class Row:
    """Setting of one trainable parameter."""

    name: str
    depth: int
    lr: float
    weight_decay: float


@dataclass(frozen=True)
class DecayRule:
    """How to set learning rate and weight decay of a model's parameters.

    Attributes:
        lr: learning rate of the heads.
        weight_decay: weight decay of the parameters that are not exempt.
        decay_rate: factor from one depth to the next, in (0, 1].
        preset: key of `PRESETS`.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    lr: float
    weight_decay: float
    decay_rate: float
    preset: str = 'mae'

    def __post_init__(self) -> None:
        if not 0 < self.decay_rate <= 1:
            raise ValueError(f'decay_rate={self.decay_rate} is outside (0, 1]: 1 turns layer decay off')
        if self.preset not in PRESETS:
            raise ValueError(f'preset={self.preset!r} is unknown: use one of {", ".join(PRESETS)}')


def decay_table(model: nn.Module, rule: DecayRule) -> list[Row]:
    """List depth, learning rate and weight decay of every trainable parameter, in the model's order.

    Args:
        model: holds exactly one module with ``depth`` and ``param_depth(name)``, at any place, or is that module
            itself; wrappers (DistributedDataParallel, torch.compile) are allowed.
        rule: the recipe.

    Raises:
        ValueError: the model has no such module or several, or a parameter gets no depth in 0..depth + 1.
    """
    return [row for row, _ in _rows(model, rule)]


def find_backbone(model: nn.Module) -> Any:
    """Find the one module of a model that offers ``param_depth``.

    Raises:
        ValueError: there is none, or more than one.
    """
    found = [module for module in model.modules() if callable(getattr(type(module), 'param_depth', None))]
    if len(found) != 1:
        raise ValueError(
            f'layer decay needs one backbone with param_depth(name), such as PlainViT; '
            f'{type(model).__name__} has {len(found)}'
        )
    return found[0]


def param_groups(model: nn.Module, rule: DecayRule) -> list[dict[str, Any]]:
    """Group a model's trainable parameters for any PyTorch optimizer.

    Parameters with the same learning rate and weight decay share a group, so that fused optimizers stay fast. The
    first group has the full learning rate.

    Example:
        ``torch.optim.AdamW(param_groups(model, DecayRule(lr=1e-4, weight_decay=0.1, decay_rate=0.7)), fused=True)``

    Args:
        model: see `decay_table`.
        rule: the recipe.

    Raises:
        ValueError: see `decay_table`.
    """
    return [group for group, _ in grouped(model, rule)]


def grouped(model: nn.Module, rule: DecayRule) -> list[tuple[dict[str, Any], list[Row]]]:
    """Make `param_groups`, each with the settings of its parameters."""
    groups: dict[tuple[float, float], tuple[dict[str, Any], list[Row]]] = {}
    for row, parameter in _rows(model, rule):
        empty: tuple[dict[str, Any], list[Row]] = (dict(params=[], lr=row.lr, weight_decay=row.weight_decay), [])
        group, rows = groups.setdefault((row.lr, row.weight_decay), empty)
        group['params'].append(parameter)
        rows.append(row)
    return [groups[key] for key in sorted(groups, reverse=True)]


def _rows(model: nn.Module, rule: DecayRule) -> Iterator[tuple[Row, nn.Parameter]]:
    backbone = find_backbone(model)
    depths = {id(p): _depth(backbone, _plain(name)) for name, p in backbone.named_parameters()}
    owners = {id(p): module for module in model.modules() for p in module.parameters(recurse=False)}
    last = backbone.depth + 1
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        depth = depths.get(id(parameter), last)
        exempt = any(test(name, parameter, owners[id(parameter)]) for test in PRESETS[rule.preset])
        lr = rule.lr * rule.decay_rate ** (last - depth)
        yield Row(_plain(name), depth, lr, 0.0 if exempt else rule.weight_decay), parameter


def _depth(backbone: Any, name: str) -> int:
    depth = backbone.param_depth(name)
    if depth not in range(backbone.depth + 2):
        raise ValueError(
            f'{type(backbone).__name__}.param_depth({name!r}) is {depth}, outside 0..{backbone.depth + 1}: '
            'no rule of layer decay covers this parameter'
        )
    return depth


def _plain(name: str) -> str:
    for wrapper in WRAPPER_NAMES:
        name = name.replace(wrapper, '')
    return name


def describe(rule: DecayRule, groups: list[list[Row]]) -> str:
    """Format the groups as a table."""
    lines = [
        f'LayerWiseDecay: rate {rule.decay_rate}, preset {rule.preset}, {len(groups)} groups',
        f'{"depth":>7} {"lr":>10} {"decay":>7} {"tensors":>7}  first',
    ]
    for rows in groups:
        depths = sorted({row.depth for row in rows})
        depth = f'{depths[0]}-{depths[-1]}' if len(depths) > 1 else str(depths[0])
        lr, weight_decay = rows[0].lr, rows[0].weight_decay
        lines.append(f'{depth:>7} {lr:>10.3g} {weight_decay:>7.3g} {len(rows):>7}  {rows[0].name}')
    return '\n'.join(lines)
