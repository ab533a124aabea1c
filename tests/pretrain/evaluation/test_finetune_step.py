"""Fine-tuning through mmengine's Runner against a plain loop written from the papers' formulae, in float64.

Layer i of N + 2 (embeddings 0, block i is i + 1, the rest N + 1) has the rate lr * decay ** (N + 1 - i) (BEiT, arXiv
2106.08254); lr = blr * effective batch / 256, a linear warm-up, then a half cosine from lr to min_lr, both scaled by
layer (MAE, arXiv 2111.06377, appendix A and code); AdamW (arXiv 1711.05101) decays matrices only.
"""

import pytest
import torch
from mmengine.runner import Runner

from pretrain.evaluation.classify import Classifier
from tests.helpers import Pictures, picture_loader, randomise, warm_cosine

BLR, MIN_LR, DECAY, WEIGHT_DECAY, BETAS, EPS = 5e-4, 1e-6, 0.65, 0.05, (0.9, 0.999), 1e-8
DEPTH, BATCH, PER_EPOCH, WARM, EPOCHS = 3, 4, 3, 2, 5
LR = BLR * BATCH / 256


def classifier():
    sizes = dict(embed_dim=16, depth=DEPTH, num_heads=2)
    backbone = dict(type='PlainViT', variant=sizes, img_size=(16, 24), patch_size=8)
    return randomise(Classifier(backbone, 3, augment=dict(label_smoothing=0.1))).double()


def scale_of(name):
    """Factor of a parameter's learning rate."""
    name = name.removeprefix('backbone.')
    if name.startswith(('cls_token', 'pos_embed', 'patch_embed')):
        depth = 0
    elif name.startswith('blocks.'):
        depth = int(name.split('.')[1]) + 1
    else:
        depth = DEPTH + 1
    return DECAY ** (DEPTH + 1 - depth)


def rate_at(step):
    """Learning rate of the head."""
    return warm_cosine(step, WARM * PER_EPOCH, EPOCHS * PER_EPOCH, LR, MIN_LR)


def cross_entropy(logits, labels):
    """Mean over the batch of -sum_n t_n log p_n with targets smoothed by 0.1."""
    total = 0
    for row, label in zip(logits, labels, strict=True):
        log_p = row - row.exp().sum().log()
        total = total - sum((0.1 / 3 + 0.9 * (n == label)) * log_p[n] for n in range(3))
    return total / len(labels)


def plain_loop(model, batches):
    """AdamW by hand, one parameter after another; returns the rates used."""
    moments = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in model.named_parameters()}
    for step, (images, labels) in enumerate(batches):
        model.zero_grad()
        cross_entropy(model(images), labels.tolist()).backward()
        for name, parameter in model.named_parameters():
            lr, gradient = rate_at(step) * scale_of(name), parameter.grad
            spared = parameter.ndim <= 1 or name.endswith(('cls_token', 'pos_embed'))
            first, second = moments[name]
            first.mul_(BETAS[0]).add_(gradient, alpha=1 - BETAS[0])
            second.mul_(BETAS[1]).add_(gradient**2, alpha=1 - BETAS[1])
            unbiased = first / (1 - BETAS[0] ** (step + 1)), second / (1 - BETAS[1] ** (step + 1))
            with torch.no_grad():
                parameter.mul_(1 - lr * (0 if spared else WEIGHT_DECAY))
                parameter.sub_(lr * unbiased[0] / (unbiased[1].sqrt() + EPS))


def runner_for(work_dir, model, epochs=EPOCHS, **changes):
    return Runner(
        model,
        work_dir=str(work_dir),
        train_dataloader=picture_loader(BATCH),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=BLR, betas=BETAS, weight_decay=WEIGHT_DECAY),
            constructor='FinetuneOptim',
            paramwise_cfg=dict(decay_rate=DECAY, preset='mae'),
            **changes,
        ),
        auto_scale_lr=dict(enable=True, base_batch_size=256),
        param_scheduler=[
            dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=WARM, convert_to_iter_based=True),
            dict(
                type='CosineAnnealingLR',
                eta_min_ratio=MIN_LR / LR,
                by_epoch=True,
                begin=WARM,
                end=EPOCHS,
                convert_to_iter_based=True,
            ),
        ],
        default_scope='mmengine',
    )


def record(runner):
    """What each step used: rate and decay by parameter."""
    used, step = [], runner.model.train_step
    names = {id(parameter): name for name, parameter in runner.model.named_parameters()}

    def recorded(data, optim_wrapper):
        used.append(
            {
                names[id(parameter)]: (group['lr'], group['weight_decay'])
                for group in optim_wrapper.optimizer.param_groups
                for parameter in group['params']
            }
        )
        return step(data, optim_wrapper)

    runner.model.train_step = recorded
    return used


def test_finetuning__equals_the_plain_loop_step_by_step(tmp_path):
    ours, plain = classifier(), classifier()
    runner = runner_for(tmp_path, ours)
    used = record(runner)
    runner.train()
    data = Pictures()
    batches = []
    for step in range(EPOCHS * PER_EPOCH):
        items = [data[step % PER_EPOCH * BATCH + offset] for offset in range(BATCH)]
        labels = torch.tensor([item['data_samples'] for item in items])
        batches.append((torch.stack([item['inputs'] for item in items]), labels))
    assert len(used) == len(batches)
    for step, rates in enumerate(used):
        for name, parameter in plain.named_parameters():
            lr, decay = rates[name]
            assert lr == pytest.approx(rate_at(step) * scale_of(name), rel=1e-9), (step, name)
            assert decay == (0 if parameter.ndim <= 1 or name.endswith(('cls_token', 'pos_embed')) else 0.05), name
    start = {name: value.clone() for name, value in plain.named_parameters()}
    plain_loop(plain, batches)
    expected = dict(plain.named_parameters())
    for name, value in ours.named_parameters():
        moved = (expected[name] - start[name]).abs().max()
        assert moved > 0, name
        # The loss is taken in float32, as under autocast.
        assert (value - expected[name]).abs().max() <= 1e-3 * moved, name


def test_finetuning__first_step_of_adamw(tmp_path):
    """From zero moments each entry moves by lr against its gradient's sign, whatever its size."""
    model, before = classifier(), classifier()
    runner = runner_for(tmp_path, model, epochs=1)
    # One step at the full rate.
    runner.param_schedulers = None
    items = [Pictures()[index] for index in range(BATCH)]
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(wrapper, runner.auto_scale_lr)
    images, labels = torch.stack([i['inputs'] for i in items]), torch.tensor([i['data_samples'] for i in items])
    model.train_step({'inputs': images, 'data_samples': labels}, wrapper)
    cross_entropy(before(images), labels.tolist()).backward()
    after = dict(model.named_parameters())
    for name, parameter in before.named_parameters():
        # A bias on K has no gradient but rounding.
        large = parameter.grad.abs() > 1e-4
        spared = parameter.ndim <= 1 or name.endswith(('cls_token', 'pos_embed'))
        lr = LR * scale_of(name)
        expected = parameter * (1 - lr * (0 if spared else WEIGHT_DECAY)) - lr * parameter.grad.sign()
        torch.testing.assert_close(after[name][large], expected[large], rtol=0, atol=lr * 2e-3)


def test_finetune_optim__counts_accumulation(tmp_path):
    runner = runner_for(tmp_path, classifier(), accumulative_counts=8)
    wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(wrapper, runner.auto_scale_lr)
    assert wrapper.optimizer.param_groups[0]['lr'] == pytest.approx(8 * LR)


def test_finetune_optim__needs_a_base_lr(tmp_path):
    runner = runner_for(tmp_path, classifier())
    del runner.optim_wrapper['optimizer']['lr']
    with pytest.raises(ValueError, match='needs lr'):
        runner.build_optim_wrapper(runner.optim_wrapper)
