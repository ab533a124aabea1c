"""Sharding in one process, which holds all parts; several are in tests/end_to_end/test_processes.py."""

import copy

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn
from torch.distributed.tensor import DTensor

from backbones import PlainViT, ShardedModel
from backbones.engine.bf16 import BF16OptimWrapper
from backbones.engine.fsdp import check_torch, hollow_copy
from backbones.openmmlab.repairs.mmengine.sharded import gathered, is_sharded
from tests.helpers import randomise

CAN_SHARD = hasattr(torch.cpu.Stream, 'record_event')
needs_sharding = pytest.mark.skipif(
    not CAN_SHARD or torch.cuda.is_available(), reason='a group of CPUs, with a torch that shards on them'
)
SIZE = dict(embed_dim=24, depth=2, num_heads=3)


class Model(BaseModel):
    """A backbone, and a head that shares its weight with another."""

    def __init__(self):
        super().__init__()
        self.backbone = PlainViT(SIZE, img_size=(32, 48))
        self.first = nn.Linear(24, 2, bias=False)
        self.second = nn.Linear(24, 2, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer('count', torch.tensor(3))

    def forward(self, inputs, mode='tensor'):
        features = self.backbone(inputs)[0].mean(dim=(2, 3))
        logits = self.first(features) + 2 * self.second(features)
        return {'loss': logits.square().sum()} if mode == 'loss' else logits


@pytest.fixture
def group(tmp_path):
    """A gloo group of one process."""
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/group', rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def pair(group):
    """A model, and a sharded copy of it."""
    plain = randomise(Model())
    plain.backbone._is_init = plain._is_init = True
    return plain, ShardedModel(copy.deepcopy(plain))


def test_hollow_copy__structure_without_memory():
    model = Model()
    hollow = hollow_copy(model)
    assert hollow.state_dict().keys() == model.state_dict().keys()
    assert all(value.is_meta for value in (*hollow.parameters(), *hollow.buffers()))
    assert hollow.first.weight is hollow.second.weight
    assert not model.first.weight.is_meta


@needs_sharding
def test_sharded__every_parameter_and_the_same_step(pair):
    plain, sharded = pair
    assert is_sharded(sharded)
    assert not is_sharded(plain)
    assert all(isinstance(parameter, DTensor) for parameter in sharded.parameters())
    batch = {'inputs': torch.randn(2, 3, 32, 48)}
    for model in (plain, sharded):
        optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
        model.train_step(batch, optimizer)
    for name, value in sharded.module.named_parameters():
        torch.testing.assert_close(value.full_tensor(), plain.get_parameter(name))


@needs_sharding
def test_sharded__predicts_with_its_present_weights(pair):
    plain, sharded = pair
    images = torch.randn(2, 3, 32, 48)
    with pytest.raises(RuntimeError, match=r'predicts after eval\(\)'):
        sharded.val_step({'inputs': images})
    for factor in (1, 3):
        with torch.no_grad():
            for parameter in (*plain.parameters(), *sharded.parameters()):
                parameter.mul_(factor)
        sharded.train().eval()
        torch.testing.assert_close(sharded(images), plain.eval()(images))
        assert not is_sharded(sharded._whole())
        # The copy lives beside the model, not in it.
        assert all(isinstance(parameter, DTensor) for parameter in sharded.parameters())


@needs_sharding
def test_sharded__copies_and_loads_as_other_models(pair):
    plain, sharded = pair
    twin = copy.deepcopy(sharded.module)
    assert is_sharded(twin)
    assert twin.first.weight is twin.second.weight
    values = randomise(Model(), seed=5).state_dict()
    twin.load_state_dict(values)
    written = gathered({'state_dict': twin.state_dict(), 'meta': {'epoch': 1}})
    assert all(type(value) is torch.Tensor for value in written['state_dict'].values())
    torch.testing.assert_close(dict(written['state_dict']), dict(values), rtol=0, atol=0)
    # The original keeps its own.
    torch.testing.assert_close(sharded.module.first.weight.full_tensor(), plain.first.weight)


@needs_sharding
def test_sharded__other_shapes_are_refused_by_torch(pair):
    values = pair[0].state_dict() | {'first.weight': torch.zeros(3, 24)}
    with pytest.raises(RuntimeError, match=r'size mismatch for first.weight'):
        pair[1].module.load_state_dict(values)


@needs_sharding
def test_sharded__mistakes(group):
    class Line(BaseModel):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(2, 2)

        def forward(self, inputs, mode='tensor'):
            return self.line(inputs)

    with pytest.raises(ValueError, match='Line has no transformer block of PlainViT'):
        ShardedModel(Line())
    with pytest.raises(ValueError, match="param_dtype='bf16' is unknown: use 'bfloat16'"):
        ShardedModel(Model(), param_dtype='bf16')


@pytest.mark.skipif(torch.cuda.is_available(), reason='a limit of CPUs')
def test_check_torch__cpu_of_the_first_versions(monkeypatch):
    monkeypatch.delattr(torch.cpu.Stream, 'record_event', raising=False)
    with pytest.raises(ValueError, match=r'shards models on GPUs only: on CPUs take a newer torch'):
        check_torch()


@needs_sharding
def test_sharded__norm_of_clipped_gradients_is_logged_in_bf16(pair):
    """As a plain tensor: `DeferredLossLog` stacks it with losses."""
    norms = []
    for model in pair:
        optimizer = BF16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01), clip_grad=dict(max_norm=0.1))
        optimizer.defers_norm = True
        torch.manual_seed(1)
        model.train_step({'inputs': torch.randn(2, 3, 32, 48)}, optimizer)
        assert type(optimizer.grad_norm) is torch.Tensor
        norms.append(optimizer.grad_norm.item())
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)
    assert norms[0] > 0.1
