"""Train what a config describes: pretraining, detection or segmentation.

examples:
  dense-mae train mae_tiny --data-root PHOTOS
  dense-mae train mask_rcnn_vit_tiny --data-root COCO_STYLE_DIR --pretrained work_dirs/mae_tiny/epoch_20.pth
  dense-mae train upernet_vit_base --data-root ADE_STYLE_DIR --pretrained mae_pretrain_vit_base.pth --amp
  dense-mae train CONFIG --data-root DIR --resume
  torchrun --nproc_per_node 8 -m downstream.cli train mae_base --data-root IMAGENET --launcher pytorch
CONFIG is a file, or the name of one that comes with the project: `dense-mae configs` lists these.
"""

import argparse
from collections.abc import Callable, Sequence

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.runner import Runner

import backbones  # noqa: F401  (at module level: spawned workers import this file and need OpenMMLab made ready too)
from backbones.console.errors import Parser, seed
from backbones.engine.launch.asked import Asked
from backbones.engine.launch.commands import check_data, evaluate_in_bf16, save_versions, set_compile, use_bf16
from backbones.engine.launch.config import open_config, require_keys
from backbones.engine.launch.keys import named_keys
from backbones.engine.launch.model_flags import add_model_flags, check_model, set_model
from backbones.engine.launch.processes import check_launcher, set_wrapper
from backbones.engine.launch.run_flags import add_run_flags, read_arguments, set_data
from backbones.engine.launch.values import check_values
from backbones.engine.launch.weights import RANDOM, set_pretrained
from backbones.engine.machine import fit_machine
from backbones.engine.resume.file import set_resume
from backbones.engine.resume.saving import SaveOnSignal
from backbones.engine.resume.schedule import FollowConfig
from backbones.engine.schedule.check import check_built, check_schedule
from backbones.engine.schedule.flags import add_schedule_flags, set_schedule
from backbones.engine.start_line import StartLine, count_repeats
from backbones.openmmlab import describe
from backbones.vit import linear


def build_parser() -> Parser:
    """The command line."""
    return add_arguments(Parser(__doc__))


def add_arguments(parser: Parser) -> Parser:
    """Add the arguments that say what to train, on which data and how."""
    parser.add_argument('config')
    parser.add_argument('--work-dir', help='where checkpoints and logs go; default work_dirs/CONFIG')
    parser.add_argument(
        '--data-root', nargs='+', help='directory of the data, whatever its layout; several to pretrain'
    )
    parser.add_argument(
        '--pretrained',
        help="file, timm/NAME or hf:ORG/REPO the backbone starts from, or 'random'; default: the config's",
    )
    parser.add_argument('--resume', nargs='?', const='auto', help='continue from PATH, or from the latest checkpoint')
    parser.add_argument(
        '--seed', type=seed, help="of every random choice; default: the config's, else drawn and logged"
    )
    add_schedule_flags(parser)
    add_model_flags(parser)
    add_run_flags(parser)
    parser.add_argument('--compile', action='store_true', help='torch.compile the losses, or backbone and neck')
    parser.add_argument('--sharded', action='store_true', help='spread the model over the processes (FSDP2)')
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return read_arguments(build_parser(), argv)


def prepare(args: argparse.Namespace) -> tuple[Config, list[str]]:
    """Turn the command line into a complete config, and report what was set.

    Raises:
        UsageError: a file or directory is missing or not as required, or a flag does not fit the config.
    """
    check_launcher(args.launcher)
    cfg, told = open_config(args.config, args.cfg_options, args.work_dir)
    require_keys(cfg, ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'), args.config)
    check_values(cfg)
    cfg.launcher = args.launcher
    asked = Asked(cfg, args.cfg_options)
    for flag, step in STEPS.items():
        told += step(cfg, args)
        told += asked.keep(cfg, flag)
    return cfg, [*told, *check_model(cfg), *check_schedule(cfg)]


def set_seed(cfg: Config, args: argparse.Namespace) -> list[str]:
    """Seed every random choice."""
    if args.seed is not None:
        cfg.randomness = dict(seed=args.seed)
    return []


def set_precision(cfg: Config, args: argparse.Namespace) -> list[str]:
    """Train and validate in bf16 if ``--amp`` or the config says so."""
    if args.amp:
        use_bf16(cfg)
    return evaluate_in_bf16(cfg, 'val') if cfg.optim_wrapper.get('type') == 'BF16OptimWrapper' else []


def set_start(cfg: Config, args: argparse.Namespace) -> list[str]:
    """Set what the training starts from: its own checkpoint, or pretrained weights."""
    where = args.resume
    if where is None and cfg.get('resume'):  # set in the config; it gets the same checks as --resume
        where = cfg.get('load_from') or 'auto'
    resumed = [] if where is None else set_resume(cfg, where, args.seed)
    if resumed:
        set_pretrained(cfg, RANDOM)  # the checkpoint holds the backbone
        unread = args.pretrained not in (None, RANDOM)
        return [*resumed, *([f'--pretrained {args.pretrained} is not read: the checkpoint goes on'] if unread else [])]
    anew = [] if where is None else [f'no checkpoint in {cfg.work_dir}: the training starts anew']
    return [*anew, set_pretrained(cfg, args.pretrained)]


# The steps for the flags, in order: each step reads what the earlier ones have set.
STEPS: dict[str, Callable[[Config, argparse.Namespace], list[str]]] = {
    '--data-root': set_data,
    'the check of the data': lambda cfg, args: check_data(cfg),
    'the size': set_model,
    'the schedule': set_schedule,
    'the repeats': lambda cfg, args: count_repeats(cfg),
    '--seed': set_seed,
    '--amp': set_precision,
    '--compile': lambda cfg, args: [set_compile(cfg)] if args.compile else [],
    '--sharded': lambda cfg, args: set_wrapper(cfg, args.sharded),
    'this machine': lambda cfg, args: fit_machine(cfg),
    '--pretrained': set_start,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Train."""
    args = parse_args(argv)
    cfg, told = prepare(args)
    with named_keys(cfg):
        runner = Runner.from_cfg(cfg)
        for line in [describe(), *linear.describe(get_device()), *told, *check_built(runner, args.epochs is not None)]:
            runner.logger.info(line)
        runner.register_hook(FollowConfig())
        runner.register_hook(StartLine())
        runner.register_hook(SaveOnSignal())
        if is_main_process():
            save_versions(cfg.work_dir)
        runner.train()
