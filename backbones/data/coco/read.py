"""Read an annotation file in COCO format: lists of images, annotations and categories."""

import json
from pathlib import Path
from typing import Any

from backbones.data.coco.findings import Findings

LISTS = ('images', 'annotations', 'categories')
# A file without annotations allows no evaluation, but is not faulty (COCO's own test-dev has none).
OPTIONAL = ('annotations',)


def read_coco_json(file: Path, findings: Findings) -> dict[str, Any]:
    """Read the file, ignoring a byte order mark, which Windows writes.

    Args:
        file: the annotation file.
        findings: receives what other readers could not handle.

    Raises:
        ValueError: the file is not JSON, or lacks the lists of objects of COCO's files.
    """
    try:
        raw = file.read_bytes()
        encoding = json.detect_encoding(raw)  # Windows writes UTF-16 too
        content = json.loads(raw.decode(encoding))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f'{file} is no COCO annotation file: {type(error).__name__} {error}') from error
    if not isinstance(content, dict):
        raise ValueError(
            f'{file} is no COCO annotation file: it holds a {type(content).__name__}, not an object with the lists '
            f'{", ".join(LISTS)}'
        )
    if encoding == 'utf-8-sig':
        findings.changed = True
        findings.notes.append('the json begins with a byte order mark: put aside')
    elif encoding != 'utf-8':
        findings.changed = True
        findings.notes.append(f'the json is written in {encoding}: read as that')
    for key in LISTS:
        if content.get(key) is None and key in OPTIONAL:
            content[key], findings.changed = [], True
        value = content.get(key)
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            what = 'is missing' if value is None else 'is no list of objects'
            raise ValueError(f'{file} is no COCO annotation file: {key!r} {what}')
    return content
