"""What became of every tensor of a checkpoint, as a value and as a short table."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

Shape: TypeAlias = tuple[int, ...]
# Names shown per line before the rest is only counted.
SHOWN = 6


@dataclass
class Report:
    """Account of loading one checkpoint into one model; ``str(report)`` is a table of a few lines.

    Attributes:
        source: the file.
        format: name of its format.
        loaded: parameters of the model that took a value from the file, resized ones included.
        resized: parameter -> (shape in the file, shape in the model).
        kept: parameter that keeps its initial value -> why that is right.
        left_over: name in the file that the model has no use for -> why that is right.
        missing: parameters that are not in the file, unexplained.
        unexpected: names in the file that the model lacks, unexplained.
        mismatched: parameter -> (shape in the file, shape in the model), where no resizing helps.
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

    @property
    def complete(self) -> bool:
        """Whether something was loaded and nothing is left unexplained."""
        return bool(self.loaded) and not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        rows = [('checkpoint', self.source), ('format', self.format), ('loaded', f'{len(self.loaded)} tensors')]
        rows += _shape_rows('resized', self.resized)
        rows += _reason_rows('kept as is', self.kept)
        rows += _reason_rows('left over', self.left_over)
        rows += [('missing', _summary(self.missing))] if self.missing else []
        rows += [('unexpected', _summary(self.unexpected))] if self.unexpected else []
        rows += _shape_rows('wrong shape', self.mismatched, between='in the file, the model has')
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
    """Name a few, with the block numbers folded: ``blocks.*.norm1.bias (12), norm.bias and 3 more``."""
    counts = Counter(re.sub(r'blocks\.\d+\.', 'blocks.*.', name) for name in names)
    shown = [f'{name} ({count})' if count > 1 else name for name, count in list(counts.items())[:SHOWN]]
    hidden = sum(list(counts.values())[SHOWN:])
    return ', '.join(shown) + (f' and {hidden} more' if hidden else '')
