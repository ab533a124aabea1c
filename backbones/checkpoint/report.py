"""Report what became of every tensor of a checkpoint, as an object and as a short table."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

Shape: TypeAlias = tuple[int, ...]
# Number of names shown per line; the rest is only counted.
SHOWN = 6
# Parts of other ViTs that PlainViT has no place for: no argument makes their files fit.
OTHER_PARTS = (
    ('norm_pre.', 'a norm in front of the blocks (CLIP): another network than PlainViT'),
    ('pre_norm.', 'a norm in front of the blocks (CLIP): another network than PlainViT'),
    ('reg_token', 'register tokens, which take part in attention: another network than PlainViT'),
    ('register_tokens', 'register tokens, which take part in attention: another network than PlainViT'),
    ('mlp.weights_in.', 'a gated MLP (SwiGLU): another network than PlainViT'),
    ('mlp.w12.', 'a gated MLP (SwiGLU): another network than PlainViT'),
    ('attn.q_norm.', 'norms of queries and keys: another network than PlainViT'),
    ('residual.', "convolutions behind ViTDet's blocks, which PlainViT lacks"),
)


@dataclass
class Report:
    """Account of loading one checkpoint into one model; ``str(report)`` is a table of a few lines.

    Attributes:
        source: the file.
        format: name of its format.
        loaded: parameters of the model that took a value from the file, resized ones included.
        resized: parameter -> (shape in the file, shape in the model).
        kept: parameter that keeps its initial value -> why that is right.
        left_over: name in the file that the model does not use -> why that is right.
        missing: parameters that the file lacks for no known reason.
        unexpected: names in the file that the model lacks for no known reason.
        mismatched: parameter -> (shape in the file, shape in the model) if no resizing helps.
        refused: parameter or property -> why the file's cannot be used, whatever its shape.
        weights: which of several state dicts this is and why; '' if there is only one.
        assumed: lines on what the file does not tell.
    """

    source: str
    format: str
    loaded: list[str] = field(default_factory=list)
    resized: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    left_over: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    weights: str = ''
    assumed: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether something was loaded and nothing is left unexplained."""
        return bool(self.loaded) and not self.problems()

    def problems(self) -> list[tuple[str, str]]:
        """Rows of the table that prevent loading."""
        rows = _reason_rows('refused', self.refused)
        rows += [('missing', _summary(self.missing))] if self.missing else []
        if self.unexpected:
            rows.append(('unexpected', _summary(self.unexpected) + _meaning(self.unexpected)))
        return rows + _shape_rows('wrong shape', self.mismatched, between='in the file, the model has')

    def __str__(self) -> str:
        rows = [('checkpoint', self.source), ('format', self.format)]
        rows += [('weights', self.weights)] if self.weights else []
        rows += [('loaded', f'{len(self.loaded)} tensors')]
        rows += _shape_rows('resized', self.resized)
        rows += _reason_rows('kept as is', self.kept)
        rows += _reason_rows('left over', self.left_over)
        rows += [('assumed', line) for line in self.assumed]
        rows += self.problems()
        return '\n'.join(f'{title:<12} {text}' for title, text in rows)


def _shape_rows(title: str, shapes: dict[str, tuple[Shape, Shape]], between: str = '->') -> list[tuple[str, str]]:
    """One row per change of shape, so that equal blocks share a row."""
    names: dict[tuple[Shape, Shape], list[str]] = {}
    for name, change in shapes.items():
        names.setdefault(change, []).append(name)
    return [(title, f'{_summary(group)}: {old} {between} {new}') for (old, new), group in names.items()]


def _reason_rows(title: str, reasons: dict[str, str]) -> list[tuple[str, str]]:
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return [(title, f'{_summary(group)}: {reason}') for reason, group in names.items()]


def _summary(names: Iterable[str]) -> str:
    """Name a few, joining equal parts of several blocks: ``blocks.*.norm1.bias (12), norm.bias and 3 more``."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r'blocks\.\d+\.', 'blocks.*.', name), []).append(name)
    shown = [f'{part} ({len(group)})' if len(group) > 1 else group[0] for part, group in list(groups.items())[:SHOWN]]
    hidden = sum(len(group) for group in list(groups.values())[SHOWN:])
    return ', '.join(shown) + (f' and {hidden} more' if hidden else '')


def _meaning(names: Iterable[str]) -> str:
    """Explain the names that are known parts of other networks."""
    known = [meaning for part, meaning in OTHER_PARTS if any(part in name for name in names)]
    return ''.join(f': {meaning}' for meaning in dict.fromkeys(known))
