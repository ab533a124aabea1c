"""Findings about an annotation file: faults that stop, notes to report, and whether it was changed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 3


@dataclass
class Findings:
    """Findings about one annotation file.

    Attributes:
        faults: what must be fixed before training.
        notes: what was filled in, set aside or is odd.
        changed: the content differs from the file's, so that all readers need the corrected one.
        left_out: number of objects that no detector can find, which mmdet itself leaves out of training.
    """

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    changed: bool = False
    left_out: int = 0

    def fault(self, number: int, total: str, what: str) -> None:
        """Add a fault of some entries, if there are any: '3 of 12 annotations WHAT'."""
        if number:
            self.faults.append(f'{number} of {total} {what}')

    def corrected(self, number: int, total: str, what: str) -> None:
        """Add a note on entries that were changed, if there are any."""
        if number:
            self.changed = True
            self.notes.append(f'{number} of {total} {what}')

    def note(self, number: int, total: str, what: str) -> None:
        """Add a note on entries that stay as they are, if there are any."""
        if number:
            self.notes.append(f'{number} of {total} {what}')


def examples(values: Iterable[Any]) -> str:
    """The first values, for people: 'a, b, c, ...'."""
    shown = [str(value) for value, _ in zip(values, range(EXAMPLES + 1), strict=False)]
    return ', '.join(shown[:EXAMPLES]) + (', ...' if len(shown) > EXAMPLES else '')


def name_of(annotation: dict[str, Any], index: int) -> str:
    """Identify an annotation in its file by id, else by its place in the list."""
    return f'id {annotation["id"]}' if 'id' in annotation else f'number {index + 1}'


def message(faults: Sequence[str]) -> str:
    """Write one fault on a line, or several below each other."""
    if len(faults) == 1:
        return faults[0]
    return f'{len(faults)} faults in the annotations:\n' + '\n'.join(f'  {fault}' for fault in faults)
