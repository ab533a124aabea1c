"""Evaluate a checkpoint on the validation part of the data; the figures go to metrics.json.

examples:
  dense-mae test mask_rcnn_vit_tiny work_dirs/mask_rcnn_vit_tiny/iter_2000.pth --data-root COCO_STYLE_DIR
  dense-mae test upernet_vit_tiny iter_2000.pth --data-root ADE_STYLE_DIR --amp
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

import backbones  # noqa: F401  (at module level: spawned workers import this file and need OpenMMLab made ready too)
from backbones.checkpoint.read import read_checkpoint
from backbones.console.errors import Parser, UsageError
from backbones.engine.launch.asked import Asked
from backbones.engine.launch.commands import check_data, evaluate_in_bf16
from backbones.engine.launch.config import open_config, require_keys
from backbones.engine.launch.fit import misfit, other_classes
from backbones.engine.launch.keys import named_keys
from backbones.engine.launch.model_flags import add_model_flags, set_model
from backbones.engine.launch.processes import check_launcher
from backbones.engine.launch.run_flags import add_run_flags, read_arguments, set_data
from backbones.engine.launch.values import check_values
from backbones.engine.launch.weights import RANDOM, set_pretrained
from backbones.engine.machine import fit_machine
from backbones.openmmlab import describe
from backbones.vit import linear


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(__doc__)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--work-dir', help='where metrics.json and logs go; default work_dirs/CONFIG')
    parser.add_argument('--data-root', help='directory of the data, whatever its layout')
    add_model_flags(parser)
    add_run_flags(parser)
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return read_arguments(build_parser(), argv)


def prepare(args: argparse.Namespace) -> tuple[Config, list[str]]:
    """Turn the command line into a complete config, and report what was set.

    Raises:
        UsageError: a file or directory is missing or not as required.
    """
    check_launcher(args.launcher)
    cfg, told = open_config(args.config, args.cfg_options, args.work_dir)
    require_keys(cfg, ('model',), args.config)
    check_values(cfg)
    cfg.launcher = args.launcher
    if cfg.get('test_dataloader') is None:
        raise UsageError(f'config {args.config} has no test_dataloader: pretraining is judged by fine-tuning')
    if not Path(args.checkpoint).expanduser().is_file():
        directory = Path(args.checkpoint).expanduser().is_dir()
        what = 'it is a directory: give a checkpoint in it' if directory else 'there is no such file'
        raise UsageError(f'checkpoint {args.checkpoint}: {what}')
    cfg.load_from, cfg.resume = None, False  # from the training; these weights would overwrite the checkpoint
    asked = Asked(cfg, args.cfg_options)
    told += evaluate_in_bf16(cfg, 'test') if args.amp else []
    told += asked.keep(cfg, '--amp')
    told += set_data(cfg, args, ('val',))
    told += asked.keep(cfg, '--data-root')
    told += set_model(cfg, args)
    told += asked.keep(cfg, 'the size')
    told += fit_machine(cfg)
    check_data(cfg, parts=('test',))
    set_pretrained(cfg, RANDOM)  # the checkpoint holds the backbone
    # The checkpoint's weights are already the averaged ones.
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if hook.get('type') != 'EMAHook']
    hooks = cfg.get('default_hooks') or {}
    cfg.default_hooks = {name: hook for name, hook in hooks.items() if not hook or hook.get('type') != 'EMAHook'}
    return cfg, told


def load(runner: Runner, checkpoint: str) -> None:
    """Load every weight of the model; mmengine alone would skip weights that do not fit.

    Raises:
        UsageError: the checkpoint cannot be read, or is of another model or of classes in another order.
    """
    try:
        content = read_checkpoint(checkpoint)
    except ValueError as error:
        raise UsageError(f'checkpoint {error}') from error
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    here = getattr(runner.test_dataloader.dataset, 'metainfo', None) or {}
    renamed = other_classes(content, here.get('classes') or ())
    wrong = misfit(content, model)
    if wrong:
        raise UsageError(f'checkpoint {checkpoint} does not fit the config: {renamed or wrong}')
    if renamed and 'another order' in renamed:
        raise UsageError(f'checkpoint {checkpoint} does not fit the data: {renamed}')
    if renamed:
        runner.logger.warning(f'{checkpoint}: {renamed}')
    check_zero(checkpoint, content, here)
    runner.load_checkpoint(checkpoint, map_location='cpu', strict=True)


def check_zero(checkpoint: str, content: dict[str, Any], here: dict[str, Any]) -> None:
    """Compare the meaning of label 0 of the masks here and in the training.

    Raises:
        UsageError: label 0 was a class and is ignored here, or the other way round.
    """
    trained = ((content.get('meta') or {}).get('dataset_meta') or {}).get('reduce_zero_label')
    if trained not in (None, here.get('reduce_zero_label')):
        flag = '--no-zero-is-class' if trained else '--zero-is-class'
        raise UsageError(
            f'checkpoint {checkpoint} was trained with {flag}: give it here too, else all labels are shifted'
        )


def as_json(value: Any) -> float | None:
    """A metric for JSON: a number, or null if it is not finite, such as the score of a class without data."""
    number = float(value)
    return number if math.isfinite(number) else None


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate, print the metrics and write them to ``metrics.json``."""
    args = parse_args(argv)
    cfg, told = prepare(args)
    with named_keys(cfg):
        runner = Runner.from_cfg(cfg)
        for line in [describe(), *linear.describe(get_device()), *told]:
            runner.logger.info(line)
        load(runner, str(Path(args.checkpoint).expanduser()))
        metrics = runner.test()
    if is_main_process():
        path = Path(cfg.work_dir) / 'metrics.json'
        path.write_text(json.dumps({name: as_json(value) for name, value in metrics.items()}, indent=2) + '\n')
        for name, value in metrics.items():
            print(f'{name:<24} {value}')
        print(f'written to {path}')
