"""Check that the labels in masks match the list of classes; training would accept mismatches silently."""

import re
from collections.abc import Sequence
from pathlib import Path

from backbones.data.label_maps.read import IGNORED, LabelCounts

# If the last class never occurs, label 0 counts as a class from this share of the pixels on.
MUCH = 0.5
GROUND = ('background', '_background_', '__background__', 'bg')


def check_labels(
    parts: Sequence[LabelCounts], classes: Sequence[str], source: Path, zero_is_class: bool, sure: bool
) -> list[str]:
    """Compare the labels in masks with the list of classes.

    Args:
        parts: label counts of each part of a data set.
        classes: names of the classes.
        source: the file that lists them.
        zero_is_class: label n is class n, counted from 0; else it is class n - 1, and 0 is ignored.
        sure: whether the user asked for ``zero_is_class``; doubts about it are then notes, not errors.

    Returns:
        lines on what is odd.

    Raises:
        ValueError: there are labels beyond the list, no label to train on, or labels that look as if 0 were a class.
    """
    if len(classes) == 1:
        raise ValueError(_one_class(source, classes[0], zero_is_class))
    first = 0 if zero_is_class else 1
    last = len(classes) - 1 + first
    if _numbered(classes, 1 - first):
        raise ValueError(_other_numbers(source, classes, first))
    for counts in parts:
        _refuse_foreign(counts, len(classes), source, first, last)
        if not _used(counts, first):
            raise ValueError(_nothing_left(counts, zero_is_class))
    shifted = None if zero_is_class else _shifted(parts, classes)
    if shifted and not sure and _likely_shifted(parts, classes):
        raise ValueError(f'{source}: {shifted} Then give --zero-is-class; if it is not, --no-zero-is-class')
    notes = [f'warning: {shifted}'] if shifted else []
    return notes + [line for counts in parts for line in _absent(counts, classes, first)]


def _used(counts: LabelCounts, first: int) -> set[int]:
    return {label for label in counts.pixels if label != IGNORED and label >= first}


def _shifted(parts: Sequence[LabelCounts], classes: Sequence[str]) -> str | None:
    """Say why labels seem to count from 0: the last class never occurs, and 0 does."""
    counts, last = parts[0], len(classes)
    if 0 not in counts.pixels or any(last in each.pixels for each in parts):
        return None
    return (
        f'label {last} ({classes[-1]}) occurs in none of {counts.where}, {counts.share(0):.0%} of pixels are 0 and '
        f'ignored: is 0 a class ({classes[0]})?'
    )


def _likely_shifted(parts: Sequence[LabelCounts], classes: Sequence[str]) -> bool:
    """Whether 0 is frequent, the first class is called background, or all other classes occur."""
    others = set().union(*(_used(counts, 1) for counts in parts))
    background = classes[0].strip().lower() in GROUND
    return parts[0].share(0) >= MUCH or background or len(others) == len(classes) - 1


def _numbered(classes: Sequence[str], start: int) -> bool:
    """Whether all names begin with numbers that count from ``start``: '0 background', '1: nucleus'."""
    numbers = [re.match(r'(\d+)[\s:;,.=_-]', name) for name in classes]
    return all(number and int(number[1]) == label for label, number in enumerate(numbers, start))


def _other_numbers(source: Path, classes: Sequence[str], first: int) -> str:
    way = 'leave --zero-is-class out' if first == 0 else 'give --zero-is-class'
    return f'{source}: line 1 ({classes[0]}) names label {first}: take the numbers out, or, if they are right, {way}'


def _one_class(source: Path, name: str, zero_is_class: bool) -> str:
    way = (
        f'name the ground too, in its order of labels (background, then {name}, for 0 and 1)'
        if zero_is_class
        else f'name the ground too, as label 1 or 2; where masks hold 0 for it and 1 for {name}, list background and '
        f'{name} and give --zero-is-class'
    )
    return f'{source} lists one class, {name}, and there is nothing to tell it from: {way}'


def _refuse_foreign(counts: LabelCounts, classes: int, source: Path, first: int, last: int) -> None:
    foreign = [label for label in counts.pixels if label != IGNORED and not 0 <= label <= last]
    if foreign:
        label = max(foreign)
        ignored = '255 is ignored' if first == 0 else '0 and 255 are ignored'
        raise ValueError(
            f'{counts.example[label]} holds label {label}, but {source} names {classes} classes: labels are {first} to '
            f'{last}, {ignored}' + (_off_by_one(counts, first, last))
        )


def _off_by_one(counts: LabelCounts, first: int, last: int) -> str:
    if first == 0 and max(label for label in counts.pixels if label != IGNORED) == last + 1 and 0 not in counts.pixels:
        return '. Labels seem to count from 1: leave --zero-is-class out'
    return ''


def _nothing_left(counts: LabelCounts, zero_is_class: bool) -> str:
    found = ' and '.join(map(str, sorted(counts.pixels)))
    ignored = 'which is ignored' if len(counts.pixels) == 1 else 'which are ignored'
    way = 'write classes as 0, 1, ...' if zero_is_class else 'write classes as 1, 2, ...'
    if not zero_is_class and IGNORED in counts.pixels and 0 in counts.pixels:
        way += '; where 255 is an object and 0 the ground, write 1 for 255, list background and the object, and give '
        way += '--zero-is-class'
    elif not zero_is_class:
        way += '; where 0 is a class, give --zero-is-class'
    return f'{counts.where} hold nothing but {found}, {ignored}: nothing can be learned. {way}'


def _absent(counts: LabelCounts, classes: Sequence[str], first: int) -> list[str]:
    absent = [name for label, name in enumerate(classes, first) if label not in counts.pixels]
    names = ', '.join(absent[:5]) + (', ...' if len(absent) > 5 else '')
    return [f'note: {len(absent)} of {len(classes)} classes occur in none of {counts.where}: {names}'] if absent else []
