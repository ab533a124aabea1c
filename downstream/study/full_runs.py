"""Protocols that train: the commands train and test as processes, each run once."""

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
from backbones.engine.launch.commands import RANDOM
from downstream.study.results import Measured
from downstream.study.steps import Command, Steps, command_line
from pretrain.evaluation.frozen import IMAGENET, Description, describe

# Protocol -> config, which ends with the variant.
TRAINED = {'linear_full': 'linear', 'partial': 'finetune', 'finetune': 'finetune'}


def train_all(args: argparse.Namespace, protocols: list[str]) -> Iterator[Measured]:
    """Train and test each protocol with each seed; what ended well in the working directory is not run again.

    The weights tested are those of the last epoch: the best one would be chosen on the images it is judged by.

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
    """What to build: as the checkpoint tells, or the command line for random weights.

    Raises:
        ValueError: see `pretrain.evaluation.frozen.describe`; or 'random' is not told what to build.
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
    """Eight digits that differ for another command line, recipe or checkpoint, one written anew in its place too."""
    place = (None if checkpoint == RANDOM else find_published(checkpoint)) or Path(checkpoint).expanduser()
    written = place.stat().st_mtime_ns if place.is_file() else 0
    parts = [arguments, Config.fromfile(config).pretty_text, written]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


def recipe(protocol: str, options: dict[str, Any]) -> Path:
    """Config of a protocol for a model.

    Raises:
        ValueError: there is none for its size.
    """
    variant = options.get('variant', 'base')
    name = f'{TRAINED[protocol]}_{variant}'
    own = config_files()
    if name not in own:
        raise ValueError(f'{protocol} has no recipe for variant {variant!r}: there is no config {name}')
    return own[name]


def model_options(protocol: str, found: Description) -> list[str]:
    """Options of the config that build the model as pretrained, fine-tuned with a table per block, as BEiT is."""
    options = dict(found.options)
    if protocol != 'linear_full' and options.get('rel_pos') == 'shared_table':
        options['rel_pos'] = 'table'
    options['img_size'] = found.size
    lines = [f'model.backbone.{key}={value}' for key, value in options.items()]
    return lines + [f'model.data_preprocessor.{key}={value}' for key, value in found.statistics.items()]


def pool_options(protocol: str, pool: str | None) -> list[str]:
    """Options of the config that pool 'mean' or 'class' tokens, with the norm where it belongs; None: the recipe's."""
    if pool is None:
        return []
    # Fine-tuning on the mean norms behind the pooling.
    return [f'model.pool={pool}', f'model.backbone.out_norm={pool == "class" or protocol == "linear_full"}']


def data_options(found: Description) -> list[str]:
    """Options of the config that make images of the model's size."""
    return [f'{part}_dataloader.dataset.transform.size={found.size}' for part in ('train', 'val', 'test')]
