"""The classifier: loss, predictions, options that change results, mistakes."""

import math

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from backbones import PlainViT
from backbones.checkpoint.load import load_pretrained
from backbones.layer_decay import DecayRule, decay_table
from pretrain.evaluation.classify import Classifier
from tests.helpers import randomise

SIZES = dict(embed_dim=24, depth=3, num_heads=3)
IMAGES = (5, 3, 24, 16)
LABELS = torch.tensor([0, 3, 1, 2, 3])


def vit(pool='mean', **options):
    return dict(type='PlainViT', variant=SIZES, img_size=IMAGES[2:], patch_size=8, out_norm=pool == 'class', **options)


def classifier(pool='mean', backbone=None, **options):
    torch.manual_seed(1)
    return randomise(Classifier(vit(pool, **(backbone or {})), 4, pool, **options))


def inputs():
    return torch.randn(IMAGES, generator=torch.Generator().manual_seed(2))


def loss(model, seed=0):
    torch.manual_seed(seed)
    return model(inputs(), LABELS, mode='loss')['loss'].item()


def test_loss__cross_entropy_with_smoothing():
    model = classifier(augment=dict(label_smoothing=0.2))
    logits = model(inputs()).tolist()
    expected = 0.0
    for row, label in zip(logits, LABELS.tolist(), strict=True):
        total = math.log(sum(math.exp(value) for value in row))
        expected -= sum((0.2 / 4 + 0.8 * (n == label)) * (value - total) for n, value in enumerate(row)) / 5
    assert loss(model) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('option', [dict(label_smoothing=0.1), dict(mixup=0.8), dict(cutmix=1.0), dict(erasing=1.0)])
def test_augment__each_option_changes_the_loss_of_training_alone(option):
    plain, changed = classifier(), classifier(augment=option)
    assert abs(loss(plain) - loss(changed)) > 1e-4
    assert loss(changed) == loss(changed)
    with torch.no_grad():
        assert torch.equal(plain(inputs()), changed(inputs()))


@torch.no_grad()
def test_pool__mean_is_normed_after_and_class_before():
    mean, token = classifier('mean'), classifier('class')
    tokens = mean.backbone.encode(mean.backbone.embed(inputs()))
    expected = mean.head(mean.fc_norm(tokens[:, 1:].mean(1)))
    torch.testing.assert_close(mean(inputs()), expected, rtol=0, atol=1e-6)
    tokens = token.backbone.encode(token.backbone.embed(inputs()))
    torch.testing.assert_close(token(inputs()), token.head(tokens[:, 0]), rtol=0, atol=1e-6)
    assert not torch.allclose(mean(inputs()), token(inputs()))


@torch.no_grad()
def test_predict__scores_and_labels():
    model = classifier().eval()
    results = model(inputs(), LABELS, mode='predict')
    assert [int(result.label) for result in results] == LABELS.tolist()
    scores = torch.stack([result.scores for result in results])
    torch.testing.assert_close(scores, model(inputs()).softmax(1))
    assert 'label' not in model(inputs(), mode='predict')[0]


def test_head__starts_near_zero():
    head = Classifier(vit(), 1000).head
    assert head.weight.std().item() == pytest.approx(2e-5, rel=0.05)
    assert not head.bias.any()
    assert Classifier(vit(), 1000, head_std=0.01).head.weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_drop_path__acts_in_training_only():
    model = classifier(backbone=dict(drop_path_rate=0.9))
    assert loss(model.train(), 1) != loss(model, 2)
    assert loss(model.eval(), 1) == loss(model, 2)


def step(model):
    """Parameters that one step of plain SGD changes."""
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model(inputs(), LABELS, mode='loss')['loss'].backward()
    optimizer.step()
    return {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}


def test_tuned_blocks__trains_the_rest_no_more():
    head = {'head.weight', 'head.bias', 'fc_norm.weight', 'fc_norm.bias'}
    changed = {tuned: step(classifier(tuned_blocks=tuned)) for tuned in (0, 0.5, 1, None)}
    assert changed[0] == head
    half = {name.removeprefix('backbone.blocks.2.').split('.')[0] for name in changed[0.5] - head}
    assert half == {'mlp', 'norm2'}
    assert len(changed[1]) == len(head) + 12
    assert len(changed[None]) == len(list(classifier().parameters()))


@pytest.mark.parametrize(('tuned', 'random'), [(0, False), (0.5, False), (1, True), (None, True)])
def test_tuned_blocks__frozen_ones_drop_nothing(tuned, random):
    model = classifier(tuned_blocks=tuned, backbone=dict(drop_path_rate=0.9)).train()
    assert (len({loss(model, seed) for seed in range(6)}) > 1) == random


def test_layer_decay__head_has_the_full_rate():
    rows = {row.name: row for row in decay_table(classifier(), DecayRule(1.0, 0.05, 0.5))}
    assert (rows['head.weight'].lr, rows['fc_norm.weight'].lr) == (1, 1)
    assert rows['backbone.blocks.2.mlp.fc1.weight'].lr == 0.5
    assert (rows['backbone.cls_token'].lr, rows['backbone.cls_token'].weight_decay) == (0.5**4, 0)
    assert (rows['head.weight'].weight_decay, rows['head.bias'].weight_decay) == (0.05, 0)


@pytest.mark.parametrize('pool', ['mean', 'class'])
def test_checkpoint__is_read_by_the_door(tmp_path, pool):
    model = classifier(pool)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, tmp_path / 'a.pth')
    target = MODELS.build(vit(pool))
    load_pretrained(target, tmp_path / 'a.pth')
    assert all(torch.equal(value, model.backbone.state_dict()[name]) for name, value in target.state_dict().items())


def test_mistakes():
    with pytest.raises(ValueError, match='set out_norm=False in the backbone'):
        Classifier(vit('class'), 4, 'mean')
    with pytest.raises(ValueError, match='set out_norm=True in the backbone'):
        Classifier(vit('mean'), 4, 'class')
    with pytest.raises(ValueError, match='Linear is none'):
        Classifier(nn.Linear(2, 2), 4)
    with pytest.raises(ValueError, match="mode='train' is unknown"):
        classifier()(inputs(), mode='train')
    with pytest.raises(ValueError, match='needs the labels'):
        classifier()(inputs(), mode='loss')


def test_backbone__may_be_a_model():
    model = Classifier(PlainViT(SIZES, img_size=16, patch_size=8), 4)
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 4)
