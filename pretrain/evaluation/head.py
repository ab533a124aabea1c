"""Continue a fine-tuned classifier with its head, which the loader of backbones does not load."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from backbones.checkpoint.read import read_checkpoint
from backbones.engine.launch.weights import pretrained_entry
from backbones.openmmlab.repairs.mmengine.sharded import as_sharded
from pretrain.evaluation.classify import Classifier

WRAPPERS = ('state_dict', 'model', 'module')
PARTS = ('head.', 'fc_norm.')


@HOOKS.register_module()
class KeepHead(Hook):
    """Load head and ``fc_norm`` from the checkpoint that the backbone starts from; its classes must be the same.

    So a model fine-tuned at 224 pixels can continue at 384: ``PretrainedViT`` resamples the backbone's positions, and
    this hook loads the head.
    """

    def before_train(self, runner: Runner) -> None:
        """Called by the runner after the weights are initialised; a resumed run already has its head."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        start = pretrained_entry(model.backbone.init_cfg)
        if runner.iter == 0 and start:
            load_head(model, start['checkpoint'], runner.train_dataloader.dataset.metainfo['classes'])


def load_head(model: Classifier, path: str | Path, classes: Sequence[str] | None = None) -> None:
    """Load head and ``fc_norm`` of a fine-tuned checkpoint: ours, MAE's, BEiT's or timm's.

    Args:
        model: changed in place.
        path: the checkpoint.
        classes: names of the classes; if the checkpoint has names, they must be equal to these.

    Raises:
        ValueError: the checkpoint has no such head, or one for other classes.
    """
    content = read_checkpoint(path)
    theirs = _class_names(content)
    if classes is not None and theirs and tuple(classes) != theirs:
        raise ValueError(
            f'{path} tells other classes apart ({_few(theirs)}) than the data ({_few(tuple(classes))}), so that its '
            'head means something else: set default_hooks.keep_head=None to start with a fresh head'
        )
    state = _state_dict(content)
    own = {name: value for name, value in model.state_dict().items() if name.startswith(PARTS)}
    for name, value in own.items():
        found = tuple(state[name].shape) if name in state else 'none'
        if found != tuple(value.shape):
            raise ValueError(
                f'{path} has {name} of shape {found}, the model {tuple(value.shape)}: it is fine-tuned for other '
                'classes or pooling, or only pretrained; set default_hooks.keep_head=None to start with a fresh head'
            )
    for name, value in own.items():
        value.copy_(as_sharded(state[name].to(value.device, value.dtype), value))
    print_log(f'{", ".join(own)} loaded from {path}', logger='current')


def _state_dict(content: dict[str, Any]) -> dict[str, Tensor]:
    inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), content)
    return {name.removeprefix('module.'): value for name, value in inner.items() if isinstance(value, Tensor)}


def _class_names(content: dict[str, Any]) -> tuple[str, ...]:
    meta = content.get('meta')
    data = meta.get('dataset_meta') if isinstance(meta, dict) else None
    return tuple((data or {}).get('classes') or ())


def _few(names: tuple[str, ...]) -> str:
    return f'{len(names)}: {", ".join(names[:5])}' + (', ...' if len(names) > 5 else '')
