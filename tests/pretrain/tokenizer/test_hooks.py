"""Hooks of the tokenizer's training in mmengine's own Runner."""

import math

import pytest
import torch
from mmengine.dist import get_rank
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from backbones import StaticDDP
from pretrain.tokenizer.dvae import DiscreteVAE
from pretrain.tokenizer.hooks import AnnealTokenizer, WatchCodebook
from pretrain.tokenizer.training import TokenizerTraining
from tests.backbones.engine.test_run_hooks import Rows
from tests.two_processes import in_two


class Collapsing(BaseModel):
    """Reports the perplexities it is given, one per iteration."""

    def __init__(self, perplexities):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.tokenizer = DiscreteVAE(vocab_size=64, hidden=4, groups=1, blocks=1)
        self.register_buffer('temperature', torch.tensor(-1.0))
        self.register_buffer('kl_weight', torch.tensor(-1.0))
        self.perplexities, self.seen = list(perplexities), []

    def forward(self, inputs, data_samples=None, mode='loss'):
        self.seen.append((self.temperature.item(), self.kl_weight.item()))
        return {'loss': self.weight.sum(), 'perplexity': torch.tensor(self.perplexities[len(self.seen) - 1])}


def train(work_dir, model, hooks, iterations, **more):
    runner = Runner(
        model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=1,
            num_workers=0,
            dataset=more.pop('dataset', Rows(iterations)),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=more.pop('epochs', 1)),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-4)),
        custom_hooks=hooks,
        experiment_name=f'{work_dir.name}_{id(model)}',
        default_scope='mmengine',
        **more,
    )
    runner.train()
    return runner


def test_anneal__half_cosines(tmp_path):
    model = Collapsing([1.0] * 8)
    train(tmp_path, model, [AnnealTokenizer(1 / 16, 6, 6.6, 3)], 8)
    for step, (temperature, weight) in enumerate(model.seen):
        share = min(step / 6, 1)
        expected = 1 / 16 + 15 / 16 * math.cos(math.pi / 2 * share) ** 2
        assert temperature == pytest.approx(expected, rel=1e-6)
        expected = 6.6 * math.sin(math.pi / 2 * min(step / 3, 1)) ** 2
        assert weight == pytest.approx(expected, rel=1e-6)
    assert model.seen[0] == (1, 0)
    assert model.seen[-1] == (1 / 16, pytest.approx(6.6))


def test_anneal__goes_on_after_a_resume(tmp_path):
    hook = dict(type='AnnealTokenizer', temperature_end=0.1, temperature_iters=8, kl_weight_end=2, kl_weight_iters=0)
    whole, first, rest = (Collapsing([1.0] * 8) for _ in range(3))
    train(tmp_path / 'whole', whole, [hook], 4, epochs=2)
    train(tmp_path / 'part', first, [hook], 4, epochs=1)
    train(tmp_path / 'part', rest, [hook], 4, epochs=2, load_from=str(tmp_path / 'part' / 'epoch_1.pth'), resume=True)
    assert first.seen + rest.seen == whole.seen
    assert {weight for _, weight in whole.seen} == {2.0}


def perplexities(falls_at, recovers_at, length):
    return [2.0 if falls_at <= step < recovers_at else 40.0 for step in range(length)]


@pytest.fixture
def heard(monkeypatch):
    """What the logger was told to warn of: mmengine keeps its records from the root logger, where caplog listens."""
    heard = []
    monkeypatch.setattr('mmengine.logging.MMLogger.warning', lambda self, message: heard.append(message), raising=False)
    return heard


def test_watch__warns_once_and_names_the_remedies(tmp_path, heard):
    model = Collapsing(perplexities(60, 1000, 260))
    train(tmp_path, model, [WatchCodebook(least=0.1, begin=10)], 260)
    messages = [message for message in heard if 'codebook is dying' in message]
    assert len(messages) == 1
    assert 'perplexity 2.0 of 64 codes at iteration 100' in messages[0]
    for remedy in ('temperature_iters', 'kl_weight_end', 'kl_weight_iters', 'lower the lr', 'vocab_size'):
        assert remedy in messages[0]


def test_watch__warns_again_after_a_recovery(tmp_path, heard):
    falls = perplexities(40, 60, 110)[:110]
    falls[99] = 40.0
    model = Collapsing([*falls, *([2.0] * 50)])
    train(tmp_path, model, [WatchCodebook(least=0.1, begin=10)], 160)
    assert ['iteration 50' in m or 'iteration 150' in m for m in heard if 'dying' in m] == [True, True]


@pytest.mark.parametrize('watch', [dict(least=0.03), dict(begin=120)])
def test_watch__options_silence_it(tmp_path, heard, watch):
    model = Collapsing(perplexities(0, 110, 160))
    train(tmp_path, model, [WatchCodebook(**{'least': 0.1, 'begin': 10, **watch})], 160)
    assert not [message for message in heard if 'dying' in message]


def test_watch__can_stop_the_training(tmp_path):
    model = Collapsing(perplexities(30, 1000, 200))
    with pytest.raises(RuntimeError, match=r'codebook is dying: perplexity 2\.0 of 64 codes at iteration 50'):
        train(tmp_path, model, [WatchCodebook(least=0.1, begin=10, stop=True)], 200)
    assert len(model.seen) == 50


class Photos(torch.utils.data.Dataset):
    metainfo = {}

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {'inputs': torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(index))}


@pytest.mark.parametrize('hooks', [[], [dict(type='SpreadCodes', deviation=2.5)]], ids=['without', 'with'])
def test_spread__first_batch_alone(tmp_path, hooks):
    torch.manual_seed(0)
    model = TokenizerTraining(DiscreteVAE(vocab_size=16, hidden=8, groups=2, blocks=1))
    train(tmp_path, model, hooks, 3, dataset=Photos())
    with torch.no_grad():
        deviation = model.tokenizer.logits(Photos()[0]['inputs'][None]).transpose(0, 1).flatten(1).std(dim=1)
    # Three steps of 1e-4 change little.
    if hooks:
        assert deviation.tolist() == pytest.approx([2.5] * 16, abs=0.3)
    else:
        assert deviation.max() < 1


def spread_and_train():
    """Start alike, spread the codes over batches of one's own, and take two steps of DDP."""
    torch.manual_seed(0)
    model = TokenizerTraining(DiscreteVAE(vocab_size=16, hidden=8, groups=2, blocks=1))
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(get_rank()))
    wrapped = StaticDDP(model)
    model.spread_codes(images, 2.5)
    with torch.no_grad():
        deviation = model.tokenizer.logits(images).transpose(0, 1).flatten(1)
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    for _ in range(2):
        wrapped.train_step({'inputs': images}, optimizer)
    return deviation, model.state_dict()


def test_spread__processes_stay_alike(tmp_path):
    (first, one), (second, two) = in_two(tmp_path, spread_and_train)
    # Over the images of both processes, not of each.
    assert torch.cat([first, second], dim=1).std(dim=1).tolist() == pytest.approx([2.5] * 16, rel=1e-4)
    assert abs(first.std(dim=1).mean() - second.std(dim=1).mean()) > 1e-3
    assert all(torch.equal(one[name], two[name]) for name in one)


def watch_low_in_one(work_dir):
    """The second process alone sees few codes."""
    model = Collapsing([2.0 if get_rank() else 4.0] * 60)
    train(work_dir / str(get_rank()), model, [WatchCodebook(least=0.06, begin=10, stop=True)], 120)


def test_watch__all_processes_stop_or_none(tmp_path):
    """The mean of 2 and 4 is under 6 % of 64 codes, 4 alone is not."""
    found = in_two(tmp_path, watch_low_in_one, tmp_path)
    assert [type(error) for error in found] == [RuntimeError, RuntimeError]
    assert all('perplexity 3.0 of 64 codes at iteration 50' in str(error) for error in found)
