"""Commands run once, side by side, and leave a mark only where they ended well."""

import json
import sys
import threading
import time

import pytest

from downstream.study.steps import Command, Steps, last_progress


def python(name, code, *arguments):
    return Command(name, (sys.executable, '-c', code, *map(str, arguments)))


APPEND = 'import sys; open(sys.argv[1], "a").write("x")'
FAIL = 'print("why it failed"); raise SystemExit(3)'


def test_run__what_is_done_is_not_run_again(tmp_path, capsys):
    command = python('one', APPEND, tmp_path / 'out')
    Steps(tmp_path, 2).run('First', [command])
    Steps(tmp_path, 2).run('Again', [command])
    assert (tmp_path / 'out').read_text() == 'x'
    printed = capsys.readouterr().out
    assert '] First\n' in printed and '] Again: done before' in printed
    assert json.loads((tmp_path / 'done' / 'one.json').read_text())['argv'][-1] == str(tmp_path / 'out')


def test_run__failed_command_shows_its_end_and_runs_again(tmp_path):
    with pytest.raises(RuntimeError, match=r'(?s)two failed, see .*two\.log.*why it failed'):
        Steps(tmp_path, 1).run('Both', [python('one', APPEND, tmp_path / 'out'), python('two', FAIL)])
    assert [path.stem for path in (tmp_path / 'done').iterdir()] == ['one']
    Steps(tmp_path, 1).run('Both', [python('one', FAIL), python('two', APPEND, tmp_path / 'out')])
    assert (tmp_path / 'out').read_text() == 'xx'


def test_run__failure_stops_the_neighbour(tmp_path):
    linger = 'import sys, time; time.sleep(60); open(sys.argv[1], "a").write("x")'
    start = time.monotonic()
    with pytest.raises(RuntimeError, match='two failed'):
        Steps(tmp_path, 2).run('Both', [python('one', linger, tmp_path / 'out'), python('two', FAIL)])
    assert time.monotonic() - start < 60
    assert not (tmp_path / 'out').exists() and not list((tmp_path / 'done').iterdir())


@pytest.mark.parametrize(('cores', 'count', 'threads'), [(8, 1, '8'), (8, 3, '4'), (2, 2, '1'), (1, 2, '1')])
def test_run__cores_are_shared(tmp_path, cores, count, threads):
    code = 'import os, sys; open(sys.argv[1], "w").write(os.environ["OMP_NUM_THREADS"])'
    Steps(tmp_path, cores).run('All', [python(f'c{i}', code, tmp_path / f'{i}.txt') for i in range(count)])
    assert [(tmp_path / f'{i}.txt').read_text() for i in range(count)] == [threads] * count


def test_last_progress__newest_line_with_the_time_left(tmp_path):
    log = tmp_path / 'x.log'
    log.write_text('anything\n')
    assert last_progress(log) == 'starting'
    stamp = '11/21 03:31:29 - mmengine - INFO - '
    log.write_text(f'{stamp}Iter [1/3]  eta: 2\n{stamp}Iter [2/3]  eta: 1  loss: 5\n{stamp}Saving\n')
    assert last_progress(log) == 'Iter [2/3] eta: 1 loss: 5'


def test_run__environment_of_the_caller(tmp_path):
    code = 'import os, sys; open(sys.argv[1], "w").write(os.environ["CUDA_VISIBLE_DEVICES"])'
    Steps(tmp_path, 1, {'CUDA_VISIBLE_DEVICES': '3'}).run('One', [python('one', code, tmp_path / 'out')])
    assert (tmp_path / 'out').read_text() == '3'


def test_stop__ends_a_run_in_another_thread(tmp_path):
    steps, errors = Steps(tmp_path, 1), []

    def work():
        try:
            steps.run('Long', [python('one', 'import time; time.sleep(60)')])
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        steps.stop()
        thread.join(0.05)
    assert errors and not list((tmp_path / 'done').iterdir())
