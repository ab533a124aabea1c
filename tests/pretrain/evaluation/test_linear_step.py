"""The linear probe's optimizer and rates through mmengine's Runner, against plain formulae in float64.

LARS (arXiv 1708.03888): a matrix moves by lr * v with v <- momentum * v + trust * |w| / |g| * g; biases have
v <- momentum * v + g. lr = blr * effective batch / 256, a linear warm-up, then a half cosine to 0 (MAE, arXiv
2111.06377, appendix A).
"""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import METRICS, MODELS
from mmengine.runner import Runner

from backbones.engine.launch.config import unknown_keys
from pretrain.evaluation.linear import LinearProbe
from pretrain.optimization.lars import lars
from tests.helpers import Pictures, picture_loader, randomise, warm_cosine

BLR, TRUST, MOMENTUM = 0.1, 0.001, 0.9
BATCH, PER_EPOCH, WARM, EPOCHS = 4, 3, 2, 5
LR = BLR * BATCH / 256
CONFIGS = Path(__file__).resolve().parents[3] / 'pretrain' / 'configs'


def probe():
    sizes = dict(embed_dim=16, depth=2, num_heads=2)
    backbone = dict(type='PlainViT', variant=sizes, img_size=(16, 24), patch_size=8, out_norm=True)
    return randomise(LinearProbe(backbone, 3)).double()


def rate_at(step):
    return warm_cosine(step, WARM * PER_EPOCH, EPOCHS * PER_EPOCH, LR)


def length(values):
    return math.sqrt(sum(value * value for value in values.flatten().tolist()))


def plain_loop(features, labels, weight, bias):
    """Batch norm, softmax regression and LARS by hand."""
    speed = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for step in range(EPOCHS * PER_EPOCH):
        places = [step % PER_EPOCH * BATCH + offset for offset in range(BATCH)]
        batch = features[places]
        mean = batch.mean(0)
        normed = (batch - mean) / (((batch - mean) ** 2).mean(0) + 1e-6).sqrt()
        gradient = [torch.zeros_like(weight), torch.zeros_like(bias)]
        for row, place in zip(normed, places, strict=True):
            error = (weight @ row + bias).exp()
            error = error / error.sum()
            error[labels[place]] -= 1
            gradient[0] += error[:, None] * row / BATCH
            gradient[1] += error / BATCH
        gradient[0] *= TRUST * length(weight) / length(gradient[0])
        speed = [MOMENTUM * old + new for old, new in zip(speed, gradient, strict=True)]
        weight, bias = weight - rate_at(step) * speed[0], bias - rate_at(step) * speed[1]
    return weight, bias


def runner_for(work_dir, model, **changes):
    base = Config.fromfile(CONFIGS / 'linear_base.py')
    schedule = [dict(each) for each in base.param_scheduler]
    schedule[0]['end'] = schedule[1]['begin'] = WARM
    schedule[1]['end'] = EPOCHS
    wrapper = {**base.optim_wrapper, 'type': 'OptimWrapper', 'accumulative_counts': 1, **changes}
    return Runner(
        model,
        work_dir=str(work_dir),
        train_dataloader=picture_loader(BATCH),
        train_cfg=dict(by_epoch=True, max_epochs=EPOCHS),
        optim_wrapper=wrapper,
        auto_scale_lr=dict(base.auto_scale_lr),
        param_scheduler=schedule,
        default_scope='mmengine',
    )


def test_probing__equals_the_plain_loop(tmp_path):
    model, start = probe(), probe()
    runner = runner_for(tmp_path, model)
    rates, step = [], runner.model.train_step

    def recorded(data, optim_wrapper):
        rates.append([group['lr'] for group in optim_wrapper.optimizer.param_groups])
        return step(data, optim_wrapper)

    runner.model.train_step = recorded
    runner.train()
    assert len(rates) == EPOCHS * PER_EPOCH
    for index, found in enumerate(rates):
        assert found == pytest.approx([rate_at(index)] * 2, rel=1e-9), index
    items = [Pictures()[index] for index in range(BATCH * PER_EPOCH)]
    with torch.no_grad():
        inputs = torch.stack([item['inputs'] for item in items])
        features = start.backbone.encode(start.backbone.embed(inputs))[:, 0]
    head = start.head[1]
    labels = [item['data_samples'] for item in items]
    expected = plain_loop(features, labels, head.weight.detach(), head.bias.detach())
    # The loss is taken in float32, as under autocast.
    for name, found, wanted in zip(
        ('weight', 'bias'), (model.head[1].weight, model.head[1].bias), expected, strict=True
    ):
        moved = (wanted - getattr(head, name)).abs().max()
        assert moved > 0
        assert (found - wanted).abs().max() <= 1e-3 * moved, name


def test_lars__one_step():
    weight, bias = torch.randn(3, 4).double(), torch.randn(3).double()
    grads = torch.randn(3, 4).double(), torch.randn(3).double()
    ours = [torch.nn.Parameter(weight.clone()), torch.nn.Parameter(bias.clone())]
    for parameter, grad in zip(ours, grads, strict=True):
        parameter.grad = grad.clone()
    lars(ours, lr=2.0, weight_decay=0.1).step()
    update = grads[0] + 0.1 * weight
    # timm's ratio has |g| + decay * |w| below, the paper's own denominator, where MAE's code has |g + decay * w|.
    ratio = 0.001 * length(weight) / (length(grads[0]) + 0.1 * length(weight))
    torch.testing.assert_close(ours[0].detach(), weight - 2 * ratio * update, rtol=1e-12, atol=0)
    torch.testing.assert_close(ours[1].detach(), bias - 2 * grads[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize('option', [dict(momentum=0.5), dict(weight_decay=0.1), dict(trust_coeff=0.01)])
def test_lars__each_option_changes_the_steps(option):
    after = []
    for options in ({}, option):
        parameter = torch.nn.Parameter(torch.arange(4.0)[None] + 1)
        optimizer = lars([{'params': [parameter]}], lr=1.0, **options)
        for _ in range(2):
            parameter.grad = torch.ones(1, 4)
            optimizer.step()
        after.append(parameter.detach())
    assert not torch.allclose(*after, rtol=1e-6)


# Effective batch, lr at that batch, epochs, warm-up of the published recipes.
RECIPES = {
    'linear_base': (16384, 6.4, 90, 10),
    'linear_large': (16384, 6.4, 90, 10),
    'linear_huge': (16384, 6.4, 90, 10),
    'linear_beit_base': (1024, 4e-3, 100, 0),
}


def build(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    return cfg, model


@pytest.mark.parametrize('name', RECIPES)
def test_config__recipe_is_the_papers(name):
    cfg, model = build(name)
    batch, lr, epochs, warm = RECIPES[name]
    # On 8 GPUs, the hardware the config names.
    per_step = 8 * cfg.train_dataloader.batch_size
    assert per_step * cfg.optim_wrapper.get('accumulative_counts', 1) == batch
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    found = [group['lr'] * per_step / cfg.auto_scale_lr.base_batch_size for group in groups]
    assert found == pytest.approx([lr, lr])
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler[-1].get('begin', 0)) == (epochs, warm)
    assert max(group['weight_decay'] for group in groups) == (1e-4 if 'beit' in name else 0)


@pytest.mark.parametrize('name', [*RECIPES, 'linear_tiny'])
def test_config__is_complete(name):
    cfg, model = build(name)
    assert unknown_keys(cfg) == []
    transform = cfg.train_dataloader.dataset.transform
    assert transform.rand_augment is None and transform.get('crop_scale', (0.08, 1.0)) == (0.08, 1.0)
    METRICS.build(cfg.val_evaluator)
    METRICS.build(cfg.test_evaluator)
    with torch.device('meta'):
        assert model.train()(torch.empty(2, 3, 224, 224)).shape[-1] == 1000
    text = (CONFIGS / f'{name}.py').read_text()
    assert len(text.splitlines()) <= 25 and f'tools/train.py pretrain/configs/{name}.py' in text
