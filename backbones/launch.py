"""What the command lines share: read a config, point it at data and weights, and refuse what cannot run."""

import importlib.metadata
import inspect
import json
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS
from mmengine.runner import Runner

from backbones.checkpoint import load_pretrained
from backbones.data_sets import inner_datasets
from backbones.distributed import leave_group

# Read by mmengine beside the arguments of its Runner.
EXTRA_KEYS = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
}
RUNNER_KEYS = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'} | EXTRA_KEYS
PACKAGES = ('dense-mae', 'torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmcv-lite', 'mmdet', 'mmsegmentation')
RANDOM = 'random'


class UsageError(ValueError):
    """A mistake of the user's: shown as one line, without a traceback."""


def run_command(command: Callable[[], None]) -> None:
    """Run a command line; a `UsageError` ends it with its message and exit code 2."""
    try:
        command()
    except UsageError as error:
        print(f'error: {error}', file=sys.stderr)
        raise SystemExit(2) from error
    leave_group()


def read_config(path: str | Path, options: dict[str, Any] | None = None, work_dir: str | None = None) -> Config:
    """Read a config file, apply ``--cfg-options`` and settle the working directory.

    Raises:
        UsageError: the file is absent or broken, or a top-level key is one that no runner reads.
    """
    if not Path(path).is_file():
        raise UsageError(f'config {path}: there is no such file')
    try:
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(options or {})
    except (SyntaxError, NameError, KeyError, TypeError, IndexError) as error:
        raise UsageError(f'config {path}: {type(error).__name__}: {error}') from error
    unknown = unknown_keys(cfg)
    if unknown:
        raise UsageError(
            f'config {path}: nothing reads {", ".join(unknown)}; known are {", ".join(sorted(RUNNER_KEYS))}'
        )
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(path).stem)
    return cfg


def unknown_keys(cfg: Config) -> list[str]:
    """Top-level keys that neither mmengine's Runner nor its Config reads."""
    return sorted(set(cfg.keys()) - RUNNER_KEYS)


def set_pretrained(cfg: Config, weights: str | None) -> str:
    """Settle what the backbone starts from.

    Args:
        cfg: changed in place; the backbone (of a pretraining config: the encoder) gets its ``init_cfg``.
        weights: a checkpoint; ``'random'`` for random weights; None for what the config says.

    Returns:
        a line that says what it starts from.

    Raises:
        UsageError: the file is absent or does not fit the backbone.
    """
    backbone = cfg.model.get('backbone') or cfg.model.get('encoder')
    if backbone is None and weights in (None, RANDOM):
        return f'{cfg.model.type} starts from random weights'
    if backbone is None:
        raise UsageError(f'{cfg.model.type} has neither backbone nor encoder to take pretrained weights')
    if weights == RANDOM:
        backbone.init_cfg = None
    elif weights is not None:
        backbone.init_cfg = ConfigDict(type='PretrainedViT', checkpoint=weights)
    init_cfg = backbone.get('init_cfg')
    if not init_cfg or init_cfg.get('type') != 'PretrainedViT':
        return f'backbone starts from: {init_cfg or "random weights"}'
    _check_weights(backbone, init_cfg)
    return f'backbone starts from: {init_cfg.checkpoint}'


def _check_weights(backbone: ConfigDict, init_cfg: ConfigDict) -> None:
    """Load the weights once before the run, so that a wrong file ends in a message."""
    if not Path(init_cfg.checkpoint).is_file():
        raise UsageError(
            f'pretrained weights {init_cfg.checkpoint}: there is no such file. Give --pretrained PATH, or '
            f'--pretrained {RANDOM} to start from random weights'
        )
    vit = MODELS.build({**backbone, 'init_cfg': None})
    try:
        load_pretrained(vit, init_cfg.checkpoint, allow_missing=init_cfg.get('allow_missing', ()))
    except ValueError as error:
        raise UsageError(str(error)) from error


def check_data(cfg: Config, parts: tuple[str, ...] = ('train', 'val')) -> list[str]:
    """Refuse dataset paths that do not exist; nothing to tell otherwise.

    Raises:
        UsageError: names the path and ``--data-root``.
    """
    for part in parts:
        loader = cfg.get(f'{part}_dataloader')
        datasets = inner_datasets(loader['dataset']) if loader else []
        for path in (path for dataset in datasets for path in _dataset_paths(dataset)):
            if not path.exists():
                raise UsageError(f'{part} data {path}: there is no such file or directory. Give --data-root DIR')
    return []


def _dataset_paths(dataset: dict[str, Any]) -> Iterator[Path]:
    roots = dataset.get('data_root') or ''
    prefixes = (dataset.get('data_prefix') or {}).values()
    for root in [roots] if isinstance(roots, str) else roots:
        if '://' in root:
            continue  # an address, of shards
        below = [name for name in (dataset.get('ann_file'), *prefixes) if name]
        yield from (Path(root) / name for name in below or [''])


def check_schedule(cfg: Config) -> list[str]:
    """Warn about learning-rate curves that end at another iteration than the training."""
    total = cfg.train_cfg.get('max_iters')
    ends = {
        index: entry.get('end') for index, entry in enumerate(cfg.param_scheduler) if not entry.get('by_epoch', True)
    }
    if total is None or not ends or ends[max(ends)] in (None, total):
        return []
    index, end = max(ends), ends[max(ends)]
    return [
        f'warning: the learning rate is planned for {end} iterations and training has {total}: '
        f'set param_scheduler.{index}.end={total}'
    ]


def use_bf16(cfg: Config) -> None:
    """Train in bf16 autocast, on GPU or CPU.

    Raises:
        UsageError: the config's optimizer wrapper is not the plain one.
    """
    if cfg.optim_wrapper.type not in ('OptimWrapper', 'BF16OptimWrapper'):
        raise UsageError(f'--amp replaces optim_wrapper.type=OptimWrapper, this config has {cfg.optim_wrapper.type}')
    cfg.optim_wrapper.type = 'BF16OptimWrapper'


def evaluate_in_bf16(cfg: Config, part: str) -> list[str]:
    """Validate (``part`` 'val') or test ('test') in bf16 autocast.

    Returns:
        a line that says so, or none where the config's loop is one of its own.
    """
    loops = {'val': ('ValLoop', 'BF16ValLoop'), 'test': ('TestLoop', 'BF16TestLoop')}
    plain, cast = loops[part]
    settings = cfg.get(f'{part}_cfg')
    if settings is None or settings.get('type', plain) != plain:
        return []
    settings.type = cast
    return [f'{part}: bf16 autocast']


def set_compile(cfg: Config) -> str:
    """Compile what takes the time: the losses of a pretraining model, or backbone and neck.

    Raises:
        UsageError: the model has none of these.
    """
    parts = ['losses'] if 'encoder' in cfg.model else [name for name in ('backbone', 'neck') if name in cfg.model]
    if not parts:
        raise UsageError(f'--compile takes models with an encoder or a backbone, not {cfg.model.type}')
    cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='CompileParts', parts=parts)]
    return f'compiled before training: {", ".join(parts)}'


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide about results."""
    found = {'python': platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def save_versions(work_dir: str | Path) -> Path:
    """Write `versions` to ``versions.json`` in the working directory."""
    path = Path(work_dir) / 'versions.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(versions(), indent=2) + '\n')
    return path
