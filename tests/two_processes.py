"""Run a function in two processes that form a gloo group, on CPUs, forked from the test: nothing is imported anew."""

import multiprocessing
import os
import traceback
from datetime import timedelta
from pathlib import Path

import pytest
import torch


def in_two(tmp_path, function, *args):
    """What ``function(*args)`` returns, or the exception that it raises, in process 0 and in process 1.

    Each has a minute: a process that waits for one which is gone counts as a failure of the test.
    """
    if torch.cuda.is_available():
        pytest.skip('forks processes of CPUs: tests/test_without_gpu.py runs it with the GPUs hidden')
    context = multiprocessing.get_context('fork')
    results = [Path(tmp_path) / f'result{rank}.pth' for rank in range(2)]
    for file in results:
        file.unlink(missing_ok=True)
    store = Path(tmp_path) / 'group'
    store.unlink(missing_ok=True)
    processes = [context.Process(target=_run, args=(rank, store, results[rank], function, args)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        if process.is_alive():
            process.kill()
    assert all(file.exists() for file in results), 'a process hung or died'
    return [torch.load(file, weights_only=False) for file in results]


def _run(rank, store, result, function, args):
    # Threads do not survive a fork.
    torch.set_num_threads(1)
    # As torchrun leaves them; the group is made through a file.
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='localhost', MASTER_PORT='0')
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=2, timeout=timedelta(seconds=40)
    )
    try:
        value = function(*args)
    except Exception as error:
        traceback.print_exc()
        value = error
    part = result.with_suffix('.part')
    torch.save(value, part)
    part.rename(result)
    # Not through Python's shutdown, in which the parent's fixtures and threads would be met again.
    os._exit(0)
