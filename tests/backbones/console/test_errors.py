"""Errors of commands: one line, one exit code, and the traceback where it can be found."""

import json
import logging
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

from backbones.console.errors import Parser, UsageError, command, exit_code, one_line

WORKER = """Caught KeyError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "worker.py", line 1, in loop
    data = fetch()
KeyError: 'mask'
"""


def decoded(text):
    try:
        json.loads(text)
    except ValueError as error:
        return error


def raised_by(call):
    try:
        call()
    except Exception as error:
        return error


CASES = [
    (UsageError('no such\n  thing'), 'no such thing'),
    (ValueError('end should be larger'), 'end should be larger'),
    (KeyError('mask'), "KeyError: 'mask'"),
    (KeyError('A is not in the registry'), 'KeyError: A is not in the registry'),
    (RuntimeError(WORKER), "KeyError: 'mask'"),
    (AssertionError(), 'AssertionError'),
    (RecursionError('maximum recursion depth exceeded'), 'RecursionError: maximum recursion depth exceeded'),
    (raised_by(lambda: Path('/no/such').read_text()), '/no/such: No such file or directory'),
    (decoded('{'), 'Expecting property name enclosed in double quotes: line 1 column 2 (char 1)'),
    (RuntimeError('\x1b[1mred\x1b[0m'), 'red'),
    (
        RuntimeError('OpenCV(5.0.0) /io/save.cpp:1072: error: (-2:Unspecified error) could not find a writer'),
        'OpenCV: could not find a writer',
    ),
]


@pytest.mark.parametrize(('error', 'line'), CASES, ids=[str(i) for i in range(len(CASES))])
def test_one_line__what_is_said(error, line):
    assert one_line(error) == line


def test_one_line__long_messages_are_cut():
    line = one_line(ValueError('x' * 11000))
    assert len(line) < 1000
    assert line.endswith('... (--debug shows all of it)')


@pytest.mark.parametrize('kind', [UsageError, ValueError, KeyError, TypeError, OSError, RuntimeError, AssertionError])
def test_exit_code__every_error_is_a_line_and_2(kind, capsys):
    def fail():
        raise kind('broken')

    assert exit_code(fail, []) == 2
    shown = capsys.readouterr()
    assert shown.out == ''
    assert len(shown.err.splitlines()) == 1
    assert shown.err.startswith('error: ')
    assert 'broken' in shown.err


def test_exit_code__debug_shows_the_traceback(capsys):
    def fail():
        raise ValueError('broken')

    assert exit_code(fail, ['--debug']) == 2
    shown = capsys.readouterr().err
    assert 'Traceback (most recent call last)' in shown
    assert shown.splitlines()[-1].startswith('error: broken')


def test_exit_code__stopped_and_done(capsys):
    def stop():
        raise KeyboardInterrupt

    assert exit_code(stop, []) == 130
    assert capsys.readouterr().err == 'stopped\n'
    assert (exit_code(lambda: None, []), exit_code(lambda: 3, [])) == (0, 3)


def test_exit_code__the_traceback_goes_to_the_log_of_the_run(tmp_path, capsys):
    def fail():
        raise ValueError('broken in training')

    def mistake():
        raise UsageError('a mistake')

    log = tmp_path / 'run.log'
    logger = MMLogger.get_instance('traceback test', logger_name='traceback test', log_file=str(log))
    exit_code(fail, [])
    assert f'(traceback in {log})' in capsys.readouterr().err
    assert 'in fail' in log.read_text()
    size = log.stat().st_size
    exit_code(mistake, [])
    assert capsys.readouterr().err == 'error: a mistake\n'
    assert log.stat().st_size == size
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler):
            logger.removeHandler(handler)
            handler.close()


def test_command__main_returns_the_code(capsys):
    @command
    def main(arguments=None):
        if 'bad' in arguments:
            raise OSError('disk')

    assert (main([]), main(['bad'])) == (0, 2)
    assert capsys.readouterr().err.startswith('error: disk')


def test_parser__mistakes_take_one_line_and_names_are_whole(capsys):
    parser = Parser('A tool.')
    parser.add_argument('--work-dir')
    for wrong in (['--work', 'x'], ['--unknown']):
        with pytest.raises(SystemExit) as ended:
            parser.parse_args(wrong)
        assert ended.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert parser.parse_args(['--debug']).debug


@pytest.mark.parametrize(
    ('argument', 'meant'),
    [('--batch_size', '--batch-size'), ('--dataroot', '--data-root'), ('--epoch', '--epochs'), ('--zzz', None)],
)
def test_parser__flags_nearly_written(argument, meant, capsys):
    parser = Parser('A tool.')
    for flag in ('--batch-size', '--data-root', '--epochs'):
        parser.add_argument(flag)
    with pytest.raises(SystemExit):
        parser.parse_args([argument, '2'])
    told = capsys.readouterr().err
    assert (f'did you mean {meant}?' in told) if meant else 'did you mean' not in told
