"""The order of things on a CPU; streams need a GPU."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import BaseDataElement, PixelData
from torch.utils.data import DataLoader

from backbones.engine.prefetch import AheadLoader, PrefetchToDevice, look_ahead, tensors_of

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')


def test_look_ahead__the_next_is_started_before_one_is_taken():
    events = []

    def start(item):
        events.append(f'start {item}')
        return 10 * item

    def finish(item):
        events.append(f'finish {item}')
        return item + 1

    for item in look_ahead(iter([1, 2, 3]), start, finish):
        events.append(f'take {item}')
    assert events == [
        *('start 1', 'finish 10', 'start 2', 'take 11', 'finish 20', 'start 3', 'take 21', 'finish 30', 'take 31'),
    ]


@pytest.mark.parametrize('count', [0, 1, 2, 7])
def test_look_ahead__each_item_once_in_order(count):
    assert list(look_ahead(range(count), lambda x: x, lambda x: x)) == list(range(count))


def test_tensors_of__nested():
    one, two, three, four = (torch.full((1,), float(i)) for i in range(4))
    batch = {
        'inputs': one,
        'more': [two, ('text', 3, three)],
        'sample': BaseDataElement(seg=PixelData(data=four[None])),
    }
    assert [tensor.item() for tensor in tensors_of(batch)] == [0, 1, 2, 3]


def test_ahead_loader__is_the_loader_in_all_else():
    loader = DataLoader(torch.arange(10), batch_size=4)
    ahead = AheadLoader(loader, lambda batch: batch, torch.device('cuda'))
    assert len(ahead) == 3
    assert ahead.dataset is loader.dataset and ahead.sampler is loader.sampler
    with pytest.raises(AttributeError):
        _ = ahead.nothing


class Logged:
    def __init__(self, model):
        self.model, self.logger, self.lines = model, self, []

    def info(self, line):
        self.lines.append(line)


def test_prefetch_to_device__says_that_a_cpu_has_no_need_of_it():
    runner = Logged(torch.nn.Linear(1, 1))
    PrefetchToDevice().before_train(runner)
    assert runner.lines == ['the model is on cpu: batches are not copied ahead']


@needs_gpu
def test_ahead_loader__same_batches_on_the_device():
    rows = torch.arange(4000).reshape(20, 200)
    loader = DataLoader(rows, batch_size=3, pin_memory=True)
    device = torch.device('cuda')
    ahead = AheadLoader(loader, lambda batch: batch.to(device, non_blocking=True), device)
    for _ in range(2):
        batches = list(ahead)
        assert all(batch.is_cuda for batch in batches)
        assert torch.equal(torch.cat(batches).cpu(), rows)


def test_prefetch_to_device__leaves_trainings_that_count_iterations():
    """Mmengine takes batches from a loader of its own there."""
    on_gpu = SimpleNamespace(device=torch.device('cuda'))
    runner = Logged(SimpleNamespace(parameters=lambda: iter([on_gpu])))
    runner.train_loop = SimpleNamespace(dataloader_iterator=iter([]), dataloader='the loader')
    PrefetchToDevice().before_train(runner)
    assert runner.train_loop.dataloader == 'the loader'
    assert runner.lines == ['training counts iterations, not epochs: batches are not copied ahead']


class Copied(torch.Tensor):
    """A tensor that writes down which stream it is kept for."""

    def record_stream(self, stream):
        events.append(f'kept for {stream.name}')


class Stream:
    """Writes down its work, as a GPU's stream would order it."""

    def __init__(self, name='copies'):
        self.name = name

    def wait_stream(self, other):
        events.append(f'{self.name} waits for {other.name}')

    def __enter__(self):
        streams.append(self)

    def __exit__(self, *_):
        streams.pop()


events, streams = [], []


def test_ahead_loader__order_of_streams(monkeypatch):
    """Copies run on their own stream; the step's waits for them, and keeps their memory, before the batch is taken."""
    events.clear()
    streams[:] = [Stream('steps')]
    monkeypatch.setattr(torch.cuda, 'Stream', lambda device: Stream())
    monkeypatch.setattr(torch.cuda, 'stream', lambda stream: stream)
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda device: streams[-1])

    def move(batch):
        events.append(f'copy {batch} on {streams[-1].name}')
        return {'inputs': torch.zeros(1).as_subclass(Copied), 'number': batch}

    for batch in AheadLoader([1, 2, 3], move, torch.device('cuda')):
        events.append(f'take {batch["number"]} on {streams[-1].name}')
    ready = ['steps waits for copies', 'kept for steps']
    assert events == [
        'copy 1 on copies',
        *(*ready, 'copy 2 on copies', 'take 1 on steps'),
        *(*ready, 'copy 3 on copies', 'take 2 on steps'),
        *(*ready, 'take 3 on steps'),
    ]


@needs_gpu
def test_ahead_loader__memory_is_kept_until_the_step_is_done():
    """Copies reuse memory early unless the step's stream is recorded: a long step then reads the next batch."""
    device = torch.device('cuda')
    rows = torch.arange(64.0).repeat_interleave(2**20).reshape(64, -1)
    loader = DataLoader(rows, batch_size=1, pin_memory=True)
    found = []
    for batch in AheadLoader(loader, lambda batch: batch.to(device, non_blocking=True), device):
        torch.cuda._sleep(20_000_000)
        found.append(batch.mean())
        del batch
    assert torch.stack(found).tolist() == list(range(64))
