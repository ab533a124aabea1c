"""Check ids in COCO annotations: they must be unique whole numbers, and references to them must exist."""

import re
from collections import Counter
from typing import Any

from backbones.data.coco.findings import Findings, examples

WHOLE = re.compile(r'-?[0-9]+')
# Limit of the evaluation's C++ code.
LARGEST = 2**62


def as_whole(value: Any) -> int | None:
    """The whole number that a value means (3, 3.0, '3'), or None."""
    if isinstance(value, str) and WHOLE.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST else None


def check_ids(entries: list[dict[str, Any]], what: str, findings: Findings) -> dict[Any, int]:
    """Give images or categories whole numbers as ids; return the file's ids -> these."""
    total = f'{len(entries)} {what}'
    without = [entry for entry in entries if not isinstance(entry.get('id'), str | int | float)]
    findings.fault(len(without), total, 'have no id')
    raw = [entry['id'] for entry in entries if isinstance(entry.get('id'), str | int | float)]
    twice = [value for value, count in Counter(raw).items() if count > 1]
    findings.fault(len(twice), total, f'share their id with another: {examples(twice)}')
    numbers = [as_whole(value) for value in raw]
    if any(number is None for number in numbers) or len(set(numbers)) < len(set(raw)):
        numbers = list(range(1, len(raw) + 1))
    known = {value: number for value, number in zip(raw, numbers, strict=True) if number is not None}
    odd = [value for value, number in known.items() if type(value) is not int or value != number]
    findings.corrected(len(odd), total, f'have an id that is no whole number ({examples(odd)}): numbered anew')
    for entry in entries:
        value = entry.get('id')
        entry['id'] = known.get(value, value) if isinstance(value, str | int | float) else None
    return known


def check_references(
    annotations: list[dict[str, Any]], key: str, known: dict[Any, int], findings: Findings
) -> list[dict[str, Any]]:
    """Set references (``image_id``, ``category_id``) to the ids they mean; return annotations with a valid one."""
    numbers = {as_whole(value): number for value, number in known.items()}
    good, unknown, changed = [], [], 0
    for annotation in annotations:
        value = annotation.get(key)
        hashable = isinstance(value, str | int | float)
        number = known.get(value) if hashable else None
        if number is None and as_whole(value) is not None:
            number = numbers.get(as_whole(value))
        if number is None:
            unknown.append(value)
            annotation[key] = value if hashable else None
            continue
        changed += type(value) is not int or value != number
        annotation[key] = number
        good.append(annotation)
    # Needs no note of its own: if the ids were changed, their note says so.
    findings.changed |= changed > 0
    if unknown:
        listed = 'images' if key == 'image_id' else 'categories'
        values = sorted(set(map(str, unknown)))
        findings.fault(
            len(unknown),
            f'{len(annotations)} annotations',
            f'have {"an" if key == "image_id" else "a"} {key} that is not among the {listed}: {examples(values)}'
            f'{_shifted(annotations, key, known)}',
        )
    return good


def _shifted(annotations: list[dict[str, Any]], key: str, known: dict[Any, int]) -> str:
    """Hint at what is wrong, such as all references being off by one."""
    used = {as_whole(annotation.get(key)) for annotation in annotations} - {None}
    listed = set(known.values())
    for step in (1, -1):
        if used and {number + step for number in used if number is not None} <= listed:
            return f'. They count from {min(listed) - step}, the list from {min(listed)}: off by one?'
    return f' (listed are {examples(sorted(listed))})'


def number_annotations(annotations: list[dict[str, Any]], findings: Findings) -> None:
    """Number annotations from 1 if their ids are not unique whole numbers above 0.

    Nothing refers to these ids, but the evaluation takes 0 for 'no match', and mmdet refuses repeated ones.
    """
    ids = [annotation.get('id') for annotation in annotations]
    whole = [value for value in ids if type(value) is int]
    reasons = {
        'have no id, or one that is no whole number': len(ids) - len(whole),
        'have an id below 1': sum(value < 1 for value in whole),
        'have the id of another': len(whole) - len(set(whole)),
    }
    found = [f'{count} {reason}' for reason, count in reasons.items() if count]
    if not found:
        return
    for index, annotation in enumerate(annotations):
        annotation['id'] = index + 1
    findings.changed = True
    findings.notes.append(f'of {len(ids)} annotations {", ".join(found)}: all numbered anew, from 1')
