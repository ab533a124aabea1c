"""How the commands end that start others and load no model.

As `backbones.engine.launch.errors` has it, without its imports. Importing backbones takes seconds, which drawing scenes or handing work to sub-processes should not cost.
"""

import argparse
import functools
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

Main = Callable[[Sequence[str] | None], int | None]


class Parser(argparse.ArgumentParser):
    """Command line whose mistakes take one line; ``--debug`` shows tracebacks.

    Args:
        description: what the tool does, shown as it is written.
    """

    def __init__(self, description: str | None) -> None:
        shape = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=shape, allow_abbrev=False)
        self.add_argument('--debug', action='store_true', help='show the traceback of an error')

    def error(self, message: str) -> NoReturn:
        """End with a line and exit code 2."""
        self.exit(2, f'error: {message} ({self.prog} --help tells more)\n')


def command(main: Main) -> Callable[[Sequence[str] | None], int]:
    """Make ``main(arguments)`` return an exit code: 2 after an error, told in one line, and 130 where it is stopped."""

    @functools.wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        try:
            return main(arguments) or 0
        except KeyboardInterrupt as stop:
            print(str(stop) or 'stopped', file=sys.stderr)
            return 130
        except Exception as error:
            if '--debug' in (sys.argv[1:] if arguments is None else arguments):
                traceback.print_exception(error)
            print(f'error: {" ".join(str(error).split()) or type(error).__name__}', file=sys.stderr)
            return 2

    return run


def above_zero(text: str) -> int:
    """A whole number above zero, from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is no whole number above zero')
    return int(text)


def seed(text: str) -> int:
    """A number that every generator takes, from the command line."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f'{text} is no whole number from 0 to 2**32 - 1')
    return int(text)
