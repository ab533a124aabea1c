"""The shipped fine-tuning configs against the papers' recipes."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import METRICS, MODELS

from backbones.engine.launch.config import unknown_keys

CONFIGS = Path(__file__).resolve().parents[2] / 'pretrain' / 'configs'
# Effective batch, lr at that batch, layer decay, drop path, epochs, warm-up, weight decay of the published recipes.
RECIPES = {
    'finetune_base': (1024, 2e-3, 0.65, 0.1, 100, 5, 0.05),
    'finetune_large': (1024, 4e-3, 0.75, 0.2, 50, 5, 0.05),
    'finetune_huge': (1024, 4e-3, 0.75, 0.3, 50, 5, 0.05),
    'partial_base': (1024, 2e-3, 0.65, 0.1, 100, 5, 0.05),
    'finetune_beit_base': (1024, 4e-3, 0.65, 0.1, 100, 20, 0.05),
    'finetune_beit_large': (1024, 1e-3, 0.75, 0.2, 50, 5, 0.05),
    'intermediate_beit_base': (4096, 3e-3, 0.65, 0.1, 90, 5, 0.05),
    'transfer_beit_base': (512, 2e-5, 0.85, 0.1, 30, 5, 1e-8),
    'finetune_beit_base_384': (512, 2e-5, 0.85, 0.1, 10, 0, 1e-8),
}
NAMES = (*RECIPES, 'finetune_small', 'finetune_tiny')


def build(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    return cfg, model


@pytest.mark.parametrize('name', RECIPES)
def test_config__recipe_is_the_papers(name):
    cfg, model = build(name)
    batch, lr, decay, drop_path, epochs, warm, weight_decay = RECIPES[name]
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    # On 8 GPUs, the hardware the config names.
    per_step = 8 * cfg.train_dataloader.batch_size
    assert per_step * cfg.optim_wrapper.get('accumulative_counts', 1) == batch
    groups = wrapper.optimizer.param_groups
    assert groups[0]['lr'] * per_step / cfg.auto_scale_lr.base_batch_size == pytest.approx(lr)
    last = min(group['lr'] for group in groups) / groups[0]['lr']
    depths = 1 if name.startswith('partial') else model.backbone.depth + 1
    assert last == pytest.approx(decay**depths)
    assert (groups[0]['betas'], max(g['weight_decay'] for g in groups)) == ((0.9, 0.999), weight_decay)
    assert model.backbone.blocks[-1].drop_path.drop_prob == pytest.approx(drop_path)
    assert cfg.train_cfg.max_epochs == epochs
    cosine = cfg.param_scheduler[-1]
    assert (cosine.get('begin', 0), cosine.eta_min_ratio * lr) == (warm, pytest.approx(1e-6))
    augment = model.augment
    assert (augment.mix.mixup_alpha, augment.mix.cutmix_alpha, augment.label_smoothing, augment.erasing) == (
        0.8,
        1.0,
        0.1,
        0.25,
    )


@pytest.mark.parametrize('name', NAMES)
def test_config__data_fit_the_model(name):
    cfg, model = build(name)
    assert unknown_keys(cfg) == []
    sizes = {cfg[f'{part}_dataloader'].dataset.transform.size for part in ('train', 'val', 'test')}
    assert sizes == {384 if '384' in name else 224}
    assert model.backbone.rel_pos_grid == (next(iter(sizes)) // model.backbone.patch_size,) * 2
    assert model.head.out_features == (21841 if 'intermediate' in name else 1000)
    METRICS.build(cfg.val_evaluator)
    with torch.device('meta'):
        images = torch.empty(2, 3, 384, 384) if '384' in name else torch.empty(2, 3, 224, 224)
        assert model(images).shape == (2, model.head.out_features)


@pytest.mark.parametrize('name', NAMES)
def test_config__leaf_is_short_and_documented(name):
    text = (CONFIGS / f'{name}.py').read_text()
    assert len(text.splitlines()) <= 25
    assert f'tools/train.py pretrain/configs/{name}.py' in text


def test_config__beit_decays_relative_positions_and_not_the_class_token():
    cfg, model = build('finetune_beit_base')
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decays = {id(p): group['weight_decay'] for group in optimizer.param_groups for p in group['params']}
    assert decays[id(model.backbone.blocks[0].attn.relative_position_bias_table)] == 0.05
    assert decays[id(model.backbone.cls_token)] == 0
