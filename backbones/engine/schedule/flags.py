"""Command-line flags for the length and batches of a training."""

import argparse

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from backbones.console.errors import UsageError
from backbones.engine.launch.processes import process_count
from backbones.engine.schedule.lengths import (
    save_before_validation,
    set_accumulation,
    set_batch_size,
    set_epochs,
    set_iters,
    set_lr,
)
from backbones.engine.schedule.parts import counts_iterations


def add_schedule_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument('--batch-size', type=int, metavar='N', help='images of one process in one iteration')
    parser.add_argument(
        '--accumulate', type=int, metavar='N', help='iterations for each update; the number of updates stays'
    )
    parser.add_argument('--lr', type=float, help="learning rate, for the batch that the config's is for")
    length = parser.add_mutually_exclusive_group()
    length.add_argument('--epochs', type=int, metavar='N', help='passes over the data; the schedule keeps its shape')
    length.add_argument('--iters', type=int, metavar='N', help='updates of the weights; the schedule keeps its shape')


def set_schedule(cfg: Config, args: argparse.Namespace) -> list[str]:
    """Apply the flags in every place of the config that they concern.

    Raises:
        UsageError: a value is out of its range, or the config cannot follow it.
    """
    told = []
    try:
        if args.batch_size is not None:
            told += set_batch_size(cfg, args.batch_size)
        if args.lr is not None:
            told += set_lr(cfg, args.lr)
        if args.iters is not None:
            told += set_iters(cfg, args.iters)
        if args.epochs is not None:
            images = count_images(cfg) if counts_iterations(cfg) else 0
            told += set_epochs(cfg, args.epochs, images, process_count(cfg.launcher) * cfg.train_dataloader.batch_size)
        if args.accumulate is not None:
            told += set_accumulation(cfg, args.accumulate)
        told += save_before_validation(cfg)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return told


def count_images(cfg: Config) -> int:
    """Number of images that a config trains on, after its filters."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        return len(DATASETS.build(cfg.train_dataloader.dataset))
