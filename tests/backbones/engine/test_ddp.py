"""StaticDDP in a group of one; two processes are in tests/end_to_end/test_processes.py."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from mmengine.optim import OptimWrapper

from backbones import StaticDDP
from tests.backbones.openmmlab.tiny import Model, run_python

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason='a group of CPUs')


@pytest.fixture
def group(tmp_path):
    """A gloo group of one process."""
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/group', rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_static_ddp__defaults_and_what_the_user_says(group):
    model = StaticDDP(Model())
    chosen = (model.static_graph, model.gradient_as_bucket_view, model.find_unused_parameters, model.broadcast_buffers)
    assert chosen == (True, True, False, False)
    other = StaticDDP(Model(), static_graph=False, broadcast_buffers=True)
    assert (other.static_graph, other.gradient_as_bucket_view, other.broadcast_buffers) == (False, True, True)


def test_static_ddp__accumulates_from_the_first_iteration(group):
    """The gradients of four quarters of a batch; torch fails where the graph is not known before no_sync."""
    model, plain = StaticDDP(Model(torch.nn.LayerNorm)), Model(torch.nn.LayerNorm)
    plain.load_state_dict(model.module.state_dict())
    batch = torch.randn(8, 3)
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5), accumulative_counts=4)
    assert isinstance(model.no_sync(), nullcontext)
    for part in batch.chunk(4):
        model.train_step({'x': part}, optimizer)
    assert not isinstance(model.no_sync(), nullcontext)
    plain.train_step({'x': batch}, OptimWrapper(torch.optim.SGD(plain.parameters(), lr=0.5)))
    for name, value in plain.named_parameters():
        torch.testing.assert_close(model.module.get_parameter(name), value)


LEAVE = """
import os
import torch
from mmengine.dist import init_dist
from mmengine.optim import OptimWrapper
from backbones.console.errors import leave_group
from backbones.engine.ddp import StaticDDP
from tests.backbones.openmmlab.tiny import Model

def gloo():
    return sum('gloo' in open(f'/proc/self/task/{task}/comm').read() for task in os.listdir('/proc/self/task'))

init_dist('pytorch', backend='gloo', init_method='file://GROUP', rank=0, world_size=1)
model = StaticDDP(Model())
model.train_step({'x': torch.ones(2, 3)}, OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.5)))
before = gloo()
model = None
leave_group()
leave_group()
print('threads', before > 0, gloo())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/task').exists(), reason='reads the names of threads from /proc')
def test_leave_group__ends_the_threads_that_could_abort_python(tmp_path):
    """A second call finds no group, and does nothing."""
    environment = dict(RANK='0', LOCAL_RANK='0', CUDA_VISIBLE_DEVICES='-1')
    status, output = run_python(LEAVE.replace('GROUP', f'{tmp_path}/group'), **environment)
    if status == 0 and 'threads False' in output:
        pytest.skip('this PyTorch does not name its threads')
    assert (status, output.splitlines()[-1]) == (0, 'threads True 0'), output
