"""Directories in a COCO layout: annotation files and the folders of their images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backbones.data.coco.categories import drop_root, root_category
from backbones.data.coco.check import Outlines, check_coco, count_outlines
from backbones.data.coco.findings import Findings, message
from backbones.data.coco.read import read_coco_json

COCO_SPLITS = {
    'train': ('train2017', 'train', 'training'),
    'val': ('val2017', 'val', 'valid', 'validation'),
}
COCO_IMAGES = ('{split}', 'images/{split}')
COCO_ANNOTATIONS = (
    'annotations/instances_{split}.json',
    'annotations/{split}.json',
    '{split}/_annotations.coco.json',
)
COCO_LAYOUTS = """\
  COCO:     {train2017,val2017}/, annotations/instances_{train2017,val2017}.json
  images:   images/{train,val}/, annotations/instances_{train,val}.json
  folders:  {train,val}/, annotations/{train,val}.json (or instances_{train,val}.json)
  Roboflow: {train,valid}/_annotations.coco.json beside the images
One annotation file for all images (such as CVAT's instances_default.json) has to be split into train and val first."""

Listed = dict[Path, list[str]]


@dataclass(frozen=True)
class CocoPart:
    """One part of a data set in COCO format.

    Attributes:
        images: folder of the images.
        annotations: the file.
        classes: class names in the order of the file's ``categories``, as mmdet numbers them.
        content: the file's content, corrected.
        notes: what was corrected, set aside or is odd.
        changed: the content differs from the file's, so that all readers need the corrected one.
        outlines: summary of the annotations' outlines.
    """

    images: Path
    annotations: Path
    classes: tuple[str, ...]
    content: dict[str, Any] = field(repr=False)
    notes: tuple[str, ...]
    changed: bool
    outlines: Outlines

    @property
    def source(self) -> Path:
        """Where the classes come from."""
        return self.annotations


def coco_files(root: Path) -> dict[str, tuple[Path, list[Path]]]:
    """Annotation file and possible image folders of each part ('train', 'val') in a COCO layout."""
    found: dict[str, tuple[Path, list[Path]]] = {}
    listed: Listed = {}
    for part, splits in COCO_SPLITS.items():
        for split in splits:
            names = [pattern.format(split=split) for pattern in COCO_ANNOTATIONS]
            files = [path for name in names for path in below(root, name, listed) if path.is_file()]
            names = [pattern.format(split=split) for pattern in COCO_IMAGES]
            folders = [path for name in names for path in below(root, name, listed) if path.is_dir()]
            if part not in found and files and folders:
                found[part] = (files[0], folders)
    return found


def below(root: Path, name: str, listed: Listed) -> Iterator[Path]:
    """Paths below a directory with a name in upper or lower case; the exact name comes first.

    Args:
        root: the directory.
        name: parts of a path, with slashes.
        listed: the directories listed so far.
    """
    first, _, rest = name.partition('/')
    if root not in listed:
        listed[root] = [path.name for path in root.iterdir()] if root.is_dir() else []
    same = [entry for entry in listed[root] if entry.lower() == first.lower()]
    for entry in sorted(same, key=lambda entry: entry != first):
        if rest:
            yield from below(root / entry, rest, listed)
        else:
            yield root / entry


def find_coco(root: Path, masks: bool = False, need: Sequence[str] = ('train', 'val')) -> dict[str, CocoPart]:
    """Find the parts ('train', 'val') of a data set in COCO format; empty if ``root`` has no such layout.

    Args:
        root: the directory.
        masks: outlines are needed, so that broken ones, or some missing ones, are faults.
        need: parts to check; of the others only the lists are read.

    Raises:
        ValueError: annotation files are broken, list no usable classes, or name missing images; the message tells all
            faults at once.
    """
    return check_parts(coco_files(root), masks, need)


def check_parts(
    files: dict[str, tuple[Path, list[Path]]], masks: bool = False, need: Sequence[str] = ('train', 'val')
) -> dict[str, CocoPart]:
    """Read annotation files, and check those of the needed parts.

    Raises:
        ValueError: see `find_coco`.
    """
    told = {part: Findings() for part in files}
    contents = {part: read_coco_json(file, told[part]) for part, (file, _) in files.items()}
    heading = root_category(list(contents.values()))
    parts, faults = {}, []
    for part, (file, folders) in files.items():
        findings = told[part]
        if heading is not None:
            drop_root(contents[part], heading, findings)
        if part in need:
            folder, outlines = check_coco(contents[part], folders, findings)
        else:
            folder, outlines = folders[0], count_outlines(contents[part])
        faults += [f'{file}: {fault}' for fault in (*findings.faults, *(outlines.faults if masks else ()))]
        parts[part] = CocoPart(
            images=folder,
            annotations=file,
            classes=tuple(str(category.get('name')) for category in contents[part]['categories']),
            content=contents[part],
            notes=tuple(findings.notes),
            changed=findings.changed or (part != 'train' and findings.left_out > 0),
            outlines=outlines,
        )
    if faults:
        raise ValueError(message(faults))
    return parts
