"""Linear probes: frozen backbone, heads, predictions."""

import math

import pytest
import torch
from torch import nn

from backbones import PlainViT
from pretrain.evaluation.accuracy import LayerAccuracy
from pretrain.evaluation.linear import LayerProbes, LinearProbe
from tests.helpers import randomise

SIZES = dict(embed_dim=24, depth=3, num_heads=3)
LABELS = torch.tensor([0, 3, 1, 2, 3])


def vit(**options):
    return dict(type='PlainViT', variant=SIZES, img_size=(24, 16), patch_size=8, **options)


def images():
    return torch.randn(5, 3, 24, 16, generator=torch.Generator().manual_seed(2))


def linear(pool='class', **options):
    return randomise(LinearProbe(vit(out_norm=True, **options), 4, pool))


def layers(**options):
    return randomise(LayerProbes(vit(**options), 4))


def log_p(row, label):
    return row[label] - math.log(sum(math.exp(value) for value in row))


@torch.no_grad()
def test_linear_probe__norms_by_the_batch_in_training_and_by_running_statistics_after():
    model = linear()
    tokens = model.backbone.encode(model.backbone.embed(images()))[:, 0]
    norm = model.head[0]
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    expected = (tokens - mean) / (variance + 1e-6).sqrt() @ model.head[1].weight.T + model.head[1].bias
    torch.testing.assert_close(model.eval()(images()), expected, rtol=1e-4, atol=1e-5)
    centred = (tokens - tokens.mean(0)) / (tokens.var(0, unbiased=False) + 1e-6).sqrt()
    expected = centred @ model.head[1].weight.T + model.head[1].bias
    torch.testing.assert_close(model.train()(images()), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_linear_probe__pools_the_mean():
    model = linear('mean').eval()
    tokens = model.backbone.encode(model.backbone.embed(images()))[:, 1:].mean(1)
    torch.testing.assert_close(model(images()), model.head(tokens))
    assert not torch.allclose(model(images()), linear('class').eval()(images()))


@pytest.mark.parametrize('build', [linear, layers])
def test_loss__sum_over_heads_of_the_cross_entropy(build):
    model = build().eval()
    logits = model(images()).reshape(5, -1, 4)
    expected = -sum(log_p(head, label) for row, label in zip(logits.tolist(), LABELS, strict=True) for head in row) / 5
    assert model(images(), LABELS, mode='loss')['loss'].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('build', [linear, layers])
def test_backbone__never_trains(build):
    model = build(drop_path_rate=0.9).train()
    backbone = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    assert not any(module.training for module in model.backbone.modules())
    assert [name for name, value in model.named_parameters() if value.requires_grad] == [
        name for name, _ in model.named_parameters() if name.startswith('head')
    ]
    losses = {model(images(), LABELS, mode='loss')['loss'].item() for _ in range(4)}
    assert len(losses) == 1
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    loss = model(images(), LABELS, mode='loss')['loss']
    loss.backward()
    optimizer.step()
    assert all(torch.equal(value, backbone[name]) for name, value in model.backbone.state_dict().items())
    assert model(images(), LABELS, mode='loss')['loss'] < loss
    assert all(parameter.grad is None for parameter in model.backbone.parameters())


@torch.no_grad()
@pytest.mark.parametrize('rel_pos', [None, 'shared_table'])
def test_layer_probes__see_class_token_and_mean_of_each_block(rel_pos):
    model = layers(rel_pos=rel_pos)
    logits = model(images())
    assert logits.shape == (5, 3, 4)
    # The maps of a model without final norm are the places of each block's output.
    maps_of = PlainViT(SIZES, img_size=(24, 16), patch_size=8, rel_pos=rel_pos, out_indices=(0, 1, 2))
    maps_of.load_state_dict(model.backbone.state_dict())
    seen = []
    for block in model.backbone.blocks:
        block.register_forward_hook(lambda module, inputs, output: seen.append(output[:, 0]))
    model(images())
    for index, maps in enumerate(maps_of(images())):
        features = torch.cat([seen[index], maps.mean(dim=(2, 3))], dim=1)
        head = model.heads[index]
        torch.testing.assert_close(logits[:, index], features @ head.weight.T + head.bias, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_predict__scores_of_each_head():
    for model in (linear().eval(), layers().eval()):
        results = model(images(), LABELS, mode='predict')
        torch.testing.assert_close(torch.stack([each.scores for each in results]), model(images()).softmax(-1))
        assert [int(each.label) for each in results] == LABELS.tolist()


def test_layer_accuracy__best_layer():
    metric = LayerAccuracy()
    scores = torch.tensor([[[0.2, 0.8], [0.9, 0.1]], [[0.2, 0.8], [0.9, 0.1]], [[0.2, 0.8], [0.1, 0.9]]])
    samples = [dict(scores=each, label=label) for each, label in zip(scores, (0, 0, 1), strict=True)]
    metric.process(None, samples)
    assert metric.evaluate(3) == {
        'accuracy/top1': pytest.approx(100),
        'accuracy/layer1': pytest.approx(100 / 3),
        'accuracy/layer2': pytest.approx(100),
    }


def test_heads__start_as_published():
    for head in (LinearProbe(vit(out_norm=True), 900).head[1], LayerProbes(vit(), 900).heads[2]):
        assert head.weight.std().item() == pytest.approx(0.01, rel=0.05) and not head.bias.any()


def test_mistakes():
    with pytest.raises(ValueError, match='set out_norm=True'):
        LinearProbe(vit(), 4)
    for probe in (LinearProbe, LayerProbes):
        with pytest.raises(ValueError, match=f'{probe.__name__} pools the tokens of a PlainViT, Linear is none'):
            probe(nn.Linear(2, 2), 4)
    for build in (
        lambda: LinearProbe(vit(out_norm=True, window_size=2), 4),
        lambda: LayerProbes(vit(window_size=2), 4),
    ):
        with pytest.raises(ValueError, match='class token'):
            build()
    with pytest.raises(ValueError, match="mode='train' is unknown"):
        linear()(images(), mode='train')
    with pytest.raises(ValueError, match='needs the labels'):
        linear()(images(), mode='loss')
