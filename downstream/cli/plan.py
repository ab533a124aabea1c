"""Tell the GPU memory that a training step of a config needs, and which batch fits; found without a GPU.

examples:
  dense-mae plan mask_rcnn_vitdet_base --gpu-memory 24
  dense-mae plan mask_rcnn_vitdet_base --gpu-memory 24 --size 800 1344 --cfg-options model.backbone.act_checkpoint=True
"""

import argparse
from collections.abc import Sequence

from backbones.console.errors import Parser, UsageError, above_zero
from backbones.engine.launch.config import read_config
from backbones.engine.launch.options import OptionsAction
from downstream.benches.plan import plan


def build_parser() -> Parser:
    """The command line."""
    return add_arguments(Parser(__doc__))


def add_arguments(parser: Parser) -> Parser:
    """Add the arguments."""
    parser.add_argument('config')
    parser.add_argument('--gpu-memory', type=gibibytes, required=True, help='GiB of one GPU')
    parser.add_argument('--size', type=above_zero, nargs=2, metavar=('HEIGHT', 'WIDTH'), help="default: the config's")
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction, help='change anything: a.b=c')
    return parser


def gibibytes(text: str) -> float:
    """Read the memory of a GPU from the command line."""
    try:
        memory = float(text)
    except ValueError:
        memory = 0.0
    if not 0 < memory < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is no number above zero')
    return memory


def show(args: argparse.Namespace) -> None:
    """Print which settings and batches fit.

    Raises:
        UsageError: the config cannot be read or planned.
    """
    cfg = read_config(args.config, args.cfg_options)
    try:
        lines = plan(cfg, args.gpu_memory, tuple(args.size) if args.size else None)
    except ValueError as error:
        raise UsageError(str(error)) from error
    print('\n'.join(lines))


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and print the plan."""
    show(build_parser().parse_args(argv))
