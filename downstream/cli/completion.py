"""Print what a shell needs to complete the commands, their flags and the names of configs.

examples:
  dense-mae completion bash >> ~/.bashrc
  dense-mae completion zsh > ~/.zfunc/_dense-mae
"""

import argparse
import importlib
from collections.abc import Sequence

import shtab

from backbones.console.errors import Parser
from backbones.console.places import config_files

# Name in the parser of the argument that names a config.
CONFIG = 'config'


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(__doc__)
    parser.add_argument('shell', choices=shtab.SUPPORTED_SHELLS, help='the shell')
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Print the script."""
    shell = build_parser().parse_args(argv).shell
    print(shtab.complete(whole_parser(), shell=shell))


def whole_parser() -> argparse.ArgumentParser:
    """Make one parser with all commands as sub-commands; this imports their modules."""
    from downstream.cli.main import COMMANDS, NAME

    whole = argparse.ArgumentParser(prog=NAME)
    commands = whole.add_subparsers()
    for name, summary in COMMANDS.items():
        parser = importlib.import_module(f'downstream.cli.{name}').build_parser()
        completed(parser)
        commands.add_parser(name, parents=[parser], add_help=False, help=summary)
    return whole


def completed(parser: argparse.ArgumentParser) -> None:
    """Set what completes each argument: names of configs, or files."""
    for action in parser._actions:
        if action.dest == CONFIG:
            action.choices = sorted(config_files())
        elif action.nargs != 0 and action.choices is None:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
