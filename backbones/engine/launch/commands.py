"""Code shared by the command lines: read a config, point it at data and weights, and refuse what cannot run."""

import importlib.metadata
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device

from backbones.console.errors import UsageError
from backbones.data.pointing.datasets import inner_datasets

# Devices whose bf16 autocast is untested with OpenMMLab's heads; mmengine refuses reduced precision there.
WITHOUT_BF16 = ('mps',)

PACKAGES = ('dense-mae', 'torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmcv-lite', 'mmdet', 'mmsegmentation')


def check_data(cfg: Config, parts: tuple[str, ...] = ('train', 'val')) -> list[str]:
    """Refuse dataset paths that do not exist; return no lines otherwise.

    Raises:
        UsageError: the message names the path and ``--data-root``.
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
            continue  # a URL of shards
        below = [name for name in (dataset.get('ann_file'), *prefixes) if name]
        yield from (Path(root) / name for name in below or [''])


def check_bf16(device: str) -> None:
    """Refuse bf16 autocast on devices where it is not known to work.

    Raises:
        UsageError: the message names the device.
    """
    if device in WITHOUT_BF16:
        raise UsageError(
            f'bf16 autocast is for GPUs and CPUs, and this machine computes on {device}: leave --amp out; where the '
            'config asks for it, add --cfg-options optim_wrapper.type=OptimWrapper'
        )


def use_bf16(cfg: Config) -> None:
    """Train in bf16 autocast, on GPU or CPU.

    Raises:
        UsageError: the config's optimizer wrapper is not the plain one, or the device has no bf16 autocast.
    """
    check_bf16(get_device())
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'BF16OptimWrapper'):
        raise UsageError(f'--amp replaces optim_wrapper.type=OptimWrapper, this config has {kind}')
    cfg.optim_wrapper.type = 'BF16OptimWrapper'


def evaluate_in_bf16(cfg: Config, part: str) -> list[str]:
    """Validate (``part`` 'val') or test ('test') in bf16 autocast.

    Returns:
        a line that says so, or none if the config uses a custom loop.

    Raises:
        UsageError: the device has no bf16 autocast.
    """
    check_bf16(get_device())
    loops = {'val': ('ValLoop', 'BF16ValLoop'), 'test': ('TestLoop', 'BF16TestLoop')}
    plain, cast = loops[part]
    settings = cfg.get(f'{part}_cfg')
    if settings is None or settings.get('type', plain) != plain:
        return []
    settings.type = cast
    return [f'{part}: bf16 autocast']


def set_compile(cfg: Config) -> str:
    """Compile the slow parts: the losses of a pretraining model, or backbone and neck.

    Raises:
        UsageError: the model has none of these.
    """
    parts = ['losses'] if cfg.model.get('encoder') else [name for name in ('backbone', 'neck') if cfg.model.get(name)]
    if not parts:
        raise UsageError(f'--compile takes models with an encoder or a backbone, not {cfg.model.type}')
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='CompileParts', parts=parts)]
    return f'compiled before training: {", ".join(parts)}'


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that influence results."""
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
