"""The shipped pretraining configs against the paper's recipe."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[2] / 'pretrain' / 'configs'
# Width, depth, heads, patch (arXiv 2010.11929, table 1; arXiv 2111.06377); encoder parameters in millions, fixed
# positions included, as timm counts vit_{base,large}_patch16_224 and vit_huge_patch14_224 without a head.
SIZES = {
    'tiny': (192, 12, 3, 16, 5.5),
    'base': (768, 12, 12, 16, 85.8),
    'large': (1024, 24, 16, 16, 303.3),
    'huge': (1280, 32, 16, 14, 630.8),
}


def build(name):
    cfg = Config.fromfile(CONFIGS / f'mae_{name}.py')
    with torch.device('meta'):
        return cfg, MODELS.build(cfg.model)


@pytest.mark.parametrize('name', SIZES)
def test_config__encoder_is_the_papers(name):
    _, model = build(name)
    vit = model.encoder
    *sizes, millions = SIZES[name]
    assert [vit.embed_dim, vit.depth, vit.num_heads, vit.patch_size] == sizes
    assert sum(p.numel() for p in vit.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize('name', ['base', 'large', 'huge'])
def test_config__recipe_is_the_papers(name):
    cfg, model = build(name)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    group = wrapper.optimizer.param_groups[0]
    # On 8 GPUs, the hardware the config names.
    effective = 8 * cfg.train_dataloader.batch_size * cfg.optim_wrapper.accumulative_counts
    assert effective == 4096
    lr = group['lr'] * 8 * cfg.train_dataloader.batch_size / cfg.auto_scale_lr.base_batch_size
    assert lr == pytest.approx(2.4e-3)
    assert (group['betas'], group['weight_decay']) == ((0.9, 0.95), 0.05)
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler[0].end, cfg.param_scheduler[1].begin) == (800, 40, 40)
    decoder = model.decoder
    assert (decoder.embed.out_features, len(decoder.blocks), decoder.blocks[0].attn.num_heads) == (512, 8, 16)
    assert (model.mask, model.mask_ratio, model.target.norm_pix) == ('random', 0.75, True)


@pytest.mark.parametrize('name', SIZES)
def test_config__crops_fit_the_model(name):
    cfg, model = build(name)
    assert cfg.train_dataloader.dataset.crop_size == cfg.model.encoder.img_size == 224
    assert model.encoder.pos_grid == (224 // model.encoder.patch_size,) * 2


@pytest.mark.parametrize('name', SIZES)
def test_config__leaf_is_short_and_documented(name):
    text = (CONFIGS / f'mae_{name}.py').read_text()
    assert len(text.splitlines()) <= 25
    assert f'tools/train.py pretrain/configs/mae_{name}.py' in text
