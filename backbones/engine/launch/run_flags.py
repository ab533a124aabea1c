"""Command-line flags that training and testing share: the config, its data, precision and processes."""

import argparse
import os
from collections.abc import Sequence

from mmengine.config import Config

from backbones.console.errors import Parser, UsageError
from backbones.data.pointing.places import PARTS
from backbones.data.pointing.root import apply_data_root
from backbones.engine.launch.options import OptionsAction


def add_run_flags(parser: Parser) -> None:
    """Add the flags; positional arguments come in the order in which they are added."""
    parser.add_argument(
        '--zero-is-class',
        action=argparse.BooleanOptionalAction,
        help='label 0 of masks is the first class, or is ignored; default: ignored, if it does not look like one',
    )
    parser.add_argument('--amp', action='store_true', help='bf16 autocast')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument(
        '--cfg-options', nargs='+', action=OptionsAction, help='change anything: a.b=c; a+=c adds to a list'
    )
    # torch.distributed.launch passes it, torchrun does not.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def read_arguments(parser: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Read a command line, and store the rank that torch.distributed.launch passes in it."""
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def set_data(cfg: Config, args: argparse.Namespace, need: Sequence[str] = PARTS) -> list[str]:
    """Point the config at ``--data-root``.

    Raises:
        UsageError: the data is not as the config needs it.
    """
    if args.zero_is_class is not None and not args.data_root:
        raise UsageError('--zero-is-class tells how to read the masks of --data-root: give both')
    try:
        return apply_data_root(cfg, args.data_root, need, args.zero_is_class) if args.data_root else []
    except ValueError as error:
        raise UsageError(str(error)) from error
