"""Turn configs that learn masks into detectors of boxes only, for data without outlines."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
EVALUATORS = ('val_evaluator', 'test_evaluator')
# Options that load outlines, or need them loaded.
MASK_SWITCHES = ('with_mask', 'by_mask')
MASK_PARTS = ('mask_head', 'mask_roi_extractor')


def learns_masks(cfg: Config) -> bool:
    """Whether a detector learns outlines: it has a mask head, or its kind has none and its data are read with them."""
    heads = [node['mask_head'] for node in _dicts(cfg.model) if 'mask_head' in node]
    return any(heads) if heads else reads_masks(cfg)


def reads_masks(cfg: Config) -> bool:
    """Whether outlines are loaded anywhere."""
    return any(node.get('with_mask') for loader in LOADERS for node in _dicts(cfg.get(loader)))


def detect_boxes_only(cfg: Config) -> list[str]:
    """Remove mask heads, load no outlines, and evaluate boxes; return one line per thing set.

    Raises:
        ValueError: the model learns masks without a mask head.
    """
    done = []
    if learns_masks(cfg):
        holders = [node for node in _dicts(cfg.model) if node.get('mask_head')]
        if not holders:
            raise ValueError(f'{cfg.model.type} learns outlines and the annotations have none: choose another model')
        for node in holders:
            node.update({name: None for name in MASK_PARTS if name in node})
        done.append('boxes alone: the mask head is left out (the annotations have no segmentation)')
    return [*done, *read_boxes_only(cfg, LOADERS)]


def read_boxes_only(cfg: Config, loaders: tuple[str, ...]) -> list[str]:
    """Load no outlines in some dataloaders, and evaluate only boxes; return one line per thing set."""
    done = []
    for node in (node for loader in loaders for node in _dicts(cfg.get(loader))):
        node.update({name: False for name in MASK_SWITCHES if node.get(name)})
    for key in EVALUATORS:
        for evaluator in _dicts(cfg.get(key)):
            metric = evaluator.get('metric')
            if (isinstance(metric, list | tuple) and 'segm' in metric) or metric == 'segm':
                evaluator['metric'] = 'bbox'
                done.append(f'{key}.metric = bbox')
    checkpoints = cfg.get('default_hooks', {}).get('checkpoint') or {}
    if 'segm' in str(checkpoints.get('save_best')):
        checkpoints['save_best'] = checkpoints['save_best'].replace('segm', 'bbox')
        done.append(f'default_hooks.checkpoint.save_best = {checkpoints["save_best"]}')
    return done


def _dicts(node: Any) -> Iterator[dict[str, Any]]:
    """Every dict under a node, itself included."""
    if isinstance(node, dict):
        yield node
    entries = node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ()
    for entry in entries:
        yield from _dicts(entry)
