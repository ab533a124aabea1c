"""Find the data sets inside a config, below wrappers and under any scope."""

from collections.abc import Iterator, Mapping
from typing import Any

# Arguments under which wrappers of mmengine, mmdet and mmseg (RepeatDataset, ClassBalancedDataset,
# MultiImageMixDataset, ConcatDataset) hold what they wrap.
INNER = ('dataset', 'datasets')


def inner_datasets(dataset: Any) -> list[Any]:
    """List the data sets that read files: ``dataset`` itself, or those in its wrappers at any depth, in order."""
    held = [dataset[key] for key in INNER if dataset.get(key)]
    if not held:
        return [dataset]
    entries = [entry for value in held for entry in (value if isinstance(value, list | tuple) else [value])]
    return [inner for entry in entries for inner in inner_datasets(entry)]


def loaded_datasets(cfg: Any, part: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield name and data sets of each dataloader that reads a part ('train' or 'val').

    Testing reads ``val`` too, since the test part of a published set has no labels.
    """
    for key in ('train_dataloader',) if part == 'train' else ('val_dataloader', 'test_dataloader'):
        loader = cfg.get(key)
        if loader is not None:
            yield key, inner_datasets(loader['dataset'])


def type_name(dataset: Mapping[str, Any]) -> str:
    """Type of a data set without its scope: ``mmdet.CocoDataset`` is ``CocoDataset``."""
    kind = dataset['type']
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]


def in_scope(name: str, other: Any) -> str:
    """Put ``name`` in the scope of another type, such as mmseg for ``mmseg.ADE20KDataset``."""
    scope = other.rpartition('.')[0] if isinstance(other, str) else ''
    return f'{scope}.{name}' if scope else name
