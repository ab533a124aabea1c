"""Protocols that train: the commands train and test run as processes, each once."""

import argparse
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

from backbones.checkpoint.hub import find_published
from backbones.checkpoint.load import read_checkpoint
from backbones.console.places import config_files
from backbones.engine.launch.weights import RANDOM
from downstream.study.results import Measured
from downstream.study.steps import Command, Steps, command_line
from pretrain.evaluation.frozen import IMAGENET, Description, describe

# Protocol -> start of the config's name; the variant follows.
TRAINED = {'linear_full': 'linear', 'partial': 'finetune', 'finetune': 'finetune'}


def train_all(args: argparse.Namespace, protocols: list[str]) -> Iterator[Measured]:
    """Train and test each protocol with each seed; commands that succeeded in the working directory are not run again.

    The weights of the last epoch are tested, because the best epoch would be chosen on the same images that judge it.

    Raises:
        ValueError: there is no recipe for the model.
        RuntimeError: a run failed; the message ends with its last line.
    """
    if not protocols:
        return
    found = model_of(args)
    steps = Steps(args.work_dir, os.cpu_count() or 1)
    for protocol in protocols:
        for seed in args.seeds:
            yield protocol, seed, train_one(args, protocol, seed, found, steps)


def model_of(args: argparse.Namespace) -> Description:
    """Describe the model to build, from the checkpoint, or from the command line for random weights.

    Raises:
        ValueError: see `pretrain.evaluation.frozen.describe`; or 'random' comes without variant or image size.
    """
    if args.checkpoint != RANDOM:
        return describe(read_checkpoint(args.checkpoint), args.checkpoint, args.variant, args.img_size)
    if args.variant is None or args.img_size is None:
        raise ValueError(f"'{RANDOM}' needs --variant and --img-size")
    return Description(dict(variant=args.variant, img_size=args.img_size), IMAGENET, args.img_size)


def train_one(args: argparse.Namespace, protocol: str, seed: int, found: Description, steps: Steps) -> dict[str, float]:
    """Train and test once; returns the metrics without their prefix."""
    config = recipe(protocol, found.options)
    options = [*model_options(protocol, found), *pool_options(protocol, args.pool), *data_options(found)]
    if protocol == 'partial':
        options.append(f'model.tuned_blocks={args.tuned_blocks:g}')
    options = ['--cfg-options', *options, *args.cfg_options]
    start = [str(config), '--data-root', str(args.data_root)]
    begin = ['--pretrained', args.checkpoint, '--seed', str(seed)]
    name = f'{protocol}-{seed}-{digest(config, args.checkpoint, [*start, *begin, *options])}'
    folder = args.work_dir / name
    train = command_line('train', *start, *begin, '--resume', '--work-dir', folder)
    steps.run(f'{protocol}, seed {seed}', [Command(f'{name}-train', (*train, *options))])
    weights = find_latest_checkpoint(str(folder))
    assert weights is not None, f'{folder} has no checkpoint'
    test = command_line('test', start[0], weights, *start[1:], '--work-dir', folder / 'test')
    steps.run(f'{protocol}, seed {seed}: test', [Command(f'{name}-test', (*test, *options))])
    metrics = json.loads((folder / 'test/metrics.json').read_text())
    return {key.removeprefix('accuracy/'): value for key, value in metrics.items()}


def digest(config: Path, checkpoint: str, arguments: list[str]) -> str:
    """Eight digits that change with the command line, the recipe, the checkpoint's path and its modification time."""
    place = (None if checkpoint == RANDOM else find_published(checkpoint)) or Path(checkpoint).expanduser()
    written = place.stat().st_mtime_ns if place.is_file() else 0
    parts = [arguments, Config.fromfile(config).pretty_text, written]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


def recipe(protocol: str, options: dict[str, Any]) -> Path:
    """Config of a protocol for a model.

    Raises:
        ValueError: there is no config for its size.
    """
    variant = options.get('variant', 'base')
    name = f'{TRAINED[protocol]}_{variant}'
    own = config_files()
    if name not in own:
        raise ValueError(f'{protocol} has no recipe for variant {variant!r}: there is no config {name}')
    return own[name]


def model_options(protocol: str, found: Description) -> list[str]:
    """Config options that build the model as pretrained; in fine-tuning with one table per block, as in BEiT."""
    options = dict(found.options)
    if protocol != 'linear_full' and options.get('rel_pos') == 'shared_table':
        options['rel_pos'] = 'table'
    options['img_size'] = found.size
    lines = [f'model.backbone.{key}={value}' for key, value in options.items()]
    return lines + [f'model.data_preprocessor.{key}={value}' for key, value in found.statistics.items()]


def pool_options(protocol: str, pool: str | None) -> list[str]:
    """Config options that pool 'mean' or 'class' tokens and put the norm in its place; None keeps the recipe's."""
    if pool is None:
        return []
    # Fine-tuning on the mean has its norm after the pooling.
    return [f'model.pool={pool}', f'model.backbone.out_norm={pool == "class" or protocol == "linear_full"}']


def data_options(found: Description) -> list[str]:
    """Config options that make images of the model's size."""
    return [f'{part}_dataloader.dataset.transform.size={found.size}' for part in ('train', 'val', 'test')]
