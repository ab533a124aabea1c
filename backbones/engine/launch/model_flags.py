"""Command-line flags, shared by training and testing, that change the model in several places at once."""

import argparse

from mmengine.config import Config

from backbones.console.errors import UsageError
from backbones.engine.launch.image_size import check_image_size, set_image_size
from backbones.engine.launch.norms import OTHERS, check_norms, set_norm
from backbones.engine.launch.processes import process_count


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument('--img-size', type=int, metavar='PX', help='side of the images, in model, crops and pipelines')
    parser.add_argument('--norm', choices=sorted(OTHERS), help='what takes the place of SyncBN')


def set_model(cfg: Config, args: argparse.Namespace) -> list[str]:
    """Apply the flags in every place of the config that they concern.

    Raises:
        UsageError: the config does not allow it.
    """
    told = []
    try:
        if args.img_size is not None:
            told += set_image_size(cfg, args.img_size)
        if args.norm is not None:
            told += set_norm(cfg, args.norm)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return told


def check_model(cfg: Config) -> list[str]:
    """Check sizes and norms of a complete config before training.

    Raises:
        UsageError: a batch norm would see one image.
    """
    try:
        norms = check_norms(cfg, process_count(cfg.launcher) * cfg.train_dataloader.get('batch_size', 1))
    except ValueError as error:
        raise UsageError(str(error)) from error
    return [*check_image_size(cfg), *norms]
