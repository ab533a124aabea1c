"""Point a config at a directory: find the layout, read the classes, set both wherever the config needs them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.config import Config

from backbones.data.folders import find_folders
from backbones.data.pointing.datasets import loaded_datasets, type_name
from backbones.data.pointing.detection import apply_coco
from backbones.data.pointing.places import PARTS, parts_in_use, require, same_classes, set_classes
from backbones.data.pointing.segmentation import apply_ade
from backbones.data.split import training_root

Rule = Callable[[Config, list[Path], Sequence[str]], list[str]]


def apply_data_root(
    cfg: Config,
    roots: str | Path | Sequence[str | Path],
    need: Sequence[str] = PARTS,
    zero_is_class: bool | None = None,
) -> list[str]:
    """Set dataset paths, class names and their number everywhere in a config.

    Args:
        cfg: config whose data sets, wrapped or not, have a type in `RULES`; changed in place.
        roots: the directory; pretraining takes several.
        need: parts of 'train' and 'val' that must exist; other parts are left as they are if absent.
        zero_is_class: option for label maps, see `apply_ade`.

    Returns:
        one line per thing set.

    Raises:
        ValueError: a directory, layout, part, class list or annotation is not as it has to be, or the config reads
            data that a directory cannot provide; the message says which.
    """
    given = [str(root) for root in ([roots] if isinstance(roots, str | Path) else roots)]
    directories = [Path(root).expanduser() for root in given]
    for root, directory in zip(given, directories, strict=True):
        if not root.strip():
            raise ValueError('--data-root is empty: give a directory')
        if not directory.is_dir():
            what = 'is a file, and a directory is needed' if directory.exists() else 'there is no such directory'
            raise ValueError(f'--data-root {root}: {what}')
    rule = find_rule(cfg)
    if zero_is_class is None:
        return rule(cfg, directories, need)
    if rule is not _apply_ade:
        raise ValueError('--zero-is-class tells of label maps, and this config reads none')
    return _apply_ade(cfg, directories, need, zero_is_class)


def find_rule(cfg: Config) -> Rule:
    """Find the rule that points all data sets of a config at a directory.

    Raises:
        ValueError: a type has no rule, two types need different layouts, or a dataloader reads several data sets.
    """
    rules = {}
    for loader, datasets in (found for part in PARTS for found in loaded_datasets(cfg, part)):
        names = [type_name(dataset) for dataset in datasets]
        if len(datasets) != 1:
            raise ValueError(
                f'{loader} reads {len(datasets)} data sets ({", ".join(names)}) and --data-root is one: set their '
                'paths with --cfg-options'
            )
        if names[0] not in RULES:
            raise ValueError(
                f'{loader} reads {names[0]}, which --data-root knows no layout of; it sets {", ".join(RULES)}. Choose '
                f'one of these, or set the paths of {names[0]} with --cfg-options'
            )
        rules[RULES[names[0]]] = f'{names[0]} ({loader})'
    if len(rules) != 1:
        raise ValueError(f'--data-root cannot serve {" and ".join(rules.values()) or "a config without data"}')
    return next(iter(rules))


def _apply_images(cfg: Config, roots: list[Path], need: Sequence[str]) -> list[str]:
    chosen = [training_root(root) for root in roots]
    for _, datasets in loaded_datasets(cfg, 'train'):
        datasets[0].data_root = [str(path) for path in chosen]
    return [
        f'pretraining images: {path}'
        + ('' if path == root else f' (only the training images of {root}; give others by themselves)')
        for path, root in zip(chosen, roots, strict=True)
    ]


def _apply_shards(cfg: Config, roots: list[Path], need: Sequence[str]) -> list[str]:
    root = _one(roots, 'ShardedImages')
    for _, datasets in loaded_datasets(cfg, 'train'):
        datasets[0].data_root = str(root)
    return [f'pretraining shards: {root}']


def _apply_coco(cfg: Config, roots: list[Path], need: Sequence[str]) -> list[str]:
    return apply_coco(cfg, _one(roots, 'CocoDataset'), need)


def _apply_ade(cfg: Config, roots: list[Path], need: Sequence[str], zero_is_class: bool | None = None) -> list[str]:
    return apply_ade(cfg, _one(roots, 'ADE20KDataset'), need, zero_is_class)


def _apply_folders(cfg: Config, roots: list[Path], need: Sequence[str]) -> list[str]:
    root = _one(roots, 'LabelledImages')
    parts = find_folders(root)
    require(parts, need, root, 'folders')
    classes = same_classes(parts)
    done = []
    for name, part in parts_in_use(parts):
        for _, (dataset,) in loaded_datasets(cfg, name):
            dataset.data_root = str(part.images)
        done.append(f'{name}: {part.images}')
    return [*done, *set_classes(cfg, classes)]


# Data set type of a config, under any scope -> how to point it at directories. Other types have no rule, so that a
# labelled set is never mistaken for images to pretrain on.
RULES: dict[str, Rule] = {
    'UnlabelledImages': _apply_images,
    'CachedTokenImages': _apply_images,
    'ShardedImages': _apply_shards,
    'CocoDataset': _apply_coco,
    'ADE20KDataset': _apply_ade,
    'BaseSegDataset': _apply_ade,
    'SegmentationPairs': _apply_ade,
    'LabelledImages': _apply_folders,
}


def _one(roots: list[Path], kind: str) -> Path:
    if len(roots) != 1:
        raise ValueError(f'{kind} takes one --data-root, got {len(roots)}: {", ".join(map(str, roots))}')
    return roots[0]
