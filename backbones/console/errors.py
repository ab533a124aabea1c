"""End a command that fails with one line and exit code 2; the traceback goes to the log.

This module imports nothing heavy, so that commands that only start others or show their help start at once.
"""

import argparse
import difflib
import functools
import gc
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

LONGEST = 900  # characters of a message
UNREAD = 141  # exit code of a command whose output nobody reads any more, as shells have it
STOPPED = 130  # exit code after Ctrl-C, as in shells
COLOURS = re.compile(r'\x1b\[[\d;]*m')
# Errors whose text means little without their name.
BARE = (KeyError, TypeError, AttributeError, IndexError, AssertionError, ZeroDivisionError, RecursionError, NameError)
# Text that other packages put around the one sentence with the reason.
PADDING = (
    (re.compile(r'Please check whether the value of .*', re.S), ''),
    (re.compile(r', the current sys\.path is:.*', re.S), ''),
    (re.compile(r'OpenCV\(\S+\) \S+: error: \(-?\d+:[^)]*\) (.*)', re.S), r'OpenCV: \1'),
    (re.compile(r'^Weights only load failed\..*', re.S), 'it holds more than weights, or is damaged, and is not read'),
)


class UsageError(ValueError):
    """A mistake of the user, shown as one line without a traceback."""


class Parser(argparse.ArgumentParser):
    """Command line of a tool that reports mistakes in one line and has ``--debug`` to show tracebacks.

    Args:
        description: what the tool does, shown without reformatting.
    """

    def __init__(self, description: str | None = None, **kwargs: object) -> None:
        shape = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=shape, allow_abbrev=False, **kwargs)  # type: ignore
        self.add_argument('--debug', action='store_true', help='show the traceback of an error')

    def error(self, message: str) -> NoReturn:
        """End with a line and exit code 2."""
        unknown = re.match(r'unrecognized arguments: (--[\w-]+)', message)
        meant = near(unknown[1], self._option_string_actions) if unknown else ''
        self.exit(2, f'error: {message}{meant} ({self.prog} --help tells more)\n')


def near(word: str, known: Iterable[str]) -> str:
    """Ask 'did you mean' the closest known word, or return ''; dashes and underscores do not count."""
    plain = {re.sub('[-_]', '', each): each for each in known}
    close = difflib.get_close_matches(re.sub('[-_]', '', word), plain, n=1)
    return f'; did you mean {plain[close[0]]}?' if close else ''


def seed(text: str) -> int:
    """Read a seed that every random generator accepts from the command line."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f'{text} is no whole number from 0 to 2**32 - 1')
    return int(text)


def above_zero(text: str) -> int:
    """Read a whole number above zero from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is no whole number above zero')
    return int(text)


def command(main: Callable[[Sequence[str] | None], int | None]) -> Callable[[Sequence[str] | None], int]:
    """Make ``main(arguments)`` return an exit code and report any error in one line."""

    @functools.wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        return exit_code(lambda: main(arguments), sys.argv[1:] if arguments is None else arguments)

    return run


def exit_code(command: Callable[[], int | None], arguments: Sequence[str]) -> int:
    """Run a command and report any error in one line.

    Args:
        command: may return an exit code of its own.
        arguments: the command line, to look for ``--debug``.
    """
    try:
        code = command() or 0
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        print(str(stop) or 'stopped', file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        # The reader, such as head, has enough. Python must not write there once more when it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except Exception as error:
        if '--debug' in arguments:
            traceback.print_exception(error)
        print(f'error: {one_line(error)}{_where_traced(error)}', file=sys.stderr)
        return 2
    leave_group()
    return code


def leave_group() -> None:
    """Leave the process group, if there is one, after a successful command, once every process is done.

    If a gloo thread releases its last tensor while Python shuts down, the process aborts (PyTorch issue 190489). The
    threads end with the group, once nothing refers to it. A failed command must not call this: it waits for the others.
    """
    # Only a command that has loaded torch.distributed can have made a group.
    distributed = sys.modules.get('torch.distributed')
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        return
    distributed.barrier()
    distributed.destroy_process_group()
    gc.collect()  # runner, hooks and wrapped model refer to each other, and to the group


def one_line(error: BaseException) -> str:
    """Reduce an error's text to one line, without tracebacks of workers and advice for programmers."""
    text = COLOURS.sub('', _text(error))
    # A worker's error contains its whole traceback; the reason follows the last frame.
    if 'Traceback (most recent call last)' in text:
        lines = text.rstrip().splitlines()
        last_frame = max(index for index, line in enumerate(lines) if line.startswith((' ', 'Traceback')))
        text = '\n'.join(lines[last_frame + 1 :]) or lines[-1]
    elif isinstance(error, BARE) or not text.strip():
        text = f'{type(error).__name__}: {text}' if text.strip() else type(error).__name__
    for pattern, instead in PADDING:
        text = pattern.sub(instead, text)
    text = ' '.join(text.split())
    return text if len(text) <= LONGEST else f'{text[:LONGEST]}... (--debug shows all of it)'


def _text(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f'{error.filename}: {error.strerror}'
    if isinstance(error, UnicodeDecodeError):
        return f'it is no text in UTF-8: {error}'
    # KeyError quotes its argument, which is right for a key and wrong for a sentence.
    sentence = isinstance(error, KeyError) and error.args and ' ' in str(error.args[0])
    return str(error.args[0]) if sentence else str(error)


def _where_traced(error: Exception) -> str:
    """Say where to find the traceback, if it tells more than the message."""
    if isinstance(error, UsageError) and error.__cause__ is None:
        return ''
    log = _log_file()
    if log is None:
        told = isinstance(error, ValueError | OSError)  # raised by a check of ours, whose message is enough
        return '' if told else ' (--debug shows the traceback)'
    with log.open('a', encoding='utf-8') as file:
        file.write(''.join(traceback.format_exception(error)))
    return f' (traceback in {log})'


def _log_file() -> Path | None:
    """Log file of the run that was in progress."""
    # Only a command that has loaded mmengine can have a log.
    mmengine_log = sys.modules.get('mmengine.logging')
    if mmengine_log is None:
        return None
    handlers = mmengine_log.MMLogger.get_current_instance().handlers
    files = [handler for handler in handlers if isinstance(handler, logging.FileHandler)]
    return Path(files[-1].baseFilename) if files and Path(files[-1].baseFilename).is_file() else None
