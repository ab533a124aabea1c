"""The shipped pretraining configs against the paper's recipe."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

from pretrain.tokenizer.dvae import DiscreteVAE

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


@pytest.mark.parametrize(('name', 'layer_scale'), [('base', 0.1), ('large', 1e-5)])
def test_beit__recipe_is_the_papers(name, layer_scale):
    cfg = Config.fromfile(CONFIGS / f'beit_{name}.py')
    cfg.model.target.tokenizer = DiscreteVAE(hidden=8, blocks=1)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    group = wrapper.optimizer.param_groups[0]
    effective = 8 * cfg.train_dataloader.batch_size * cfg.optim_wrapper.accumulative_counts
    lr = group['lr'] * 8 * cfg.train_dataloader.batch_size / cfg.auto_scale_lr.base_batch_size
    assert (effective, lr) == (2048, pytest.approx(1.5e-3))
    assert (group['betas'], group['eps'], group['weight_decay']) == ((0.9, 0.999), 1e-8, 0.05)
    assert wrapper.clip_grad_kwargs == {'max_norm': 3.0}
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler[0].end, cfg.param_scheduler[1].eta_min) == (800, 10, 1e-5)
    dataset = cfg.train_dataloader.dataset
    assert (dataset.crop_scale, dataset.color_jitter, dataset.crop_size, dataset.token_size) == (
        (0.08, 1.0),
        0.4,
        224,
        112,
    )
    vit = model.encoder
    assert cfg.model.encoder.layer_scale == layer_scale
    assert (vit.pos_embed, vit.blocks[-1].drop_path.drop_prob) == (None, 0.1)
    assert vit.rel_pos_bias.relative_position_bias_table.shape == (27 * 27 + 3, vit.num_heads)
    assert model.draw_mask(torch.zeros(3, 3, 224, 224)).sum(dim=1).tolist() == [75] * 3
    assert model.head.out_features == 8192


@pytest.mark.parametrize('size', ['tiny', 'base'])
@pytest.mark.parametrize('method', ['simmim', 'dae'])
def test_baselines__differ_from_mae_in_the_model_alone(method, size):
    ours, mae = (Config.fromfile(CONFIGS / f'{name}_{size}.py').to_dict() for name in (method, 'mae'))
    assert {key for key in mae if ours[key] != mae[key]} == {'model'}
    assert ours['model']['encoder'] == {k: v for k, v in mae['model']['encoder'].items() if k != 'patch_size'}
    assert ours['model']['data_preprocessor'] == mae['model']['data_preprocessor']
    MODELS.build(Config.fromfile(CONFIGS / f'{method}_tiny.py').model)
