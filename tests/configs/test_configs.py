"""Every shipped config: builds, says its sizes where they are used and right, and keeps to the rules."""

import ast
import re

import mmdet.models  # noqa: F401
import mmseg.models  # noqa: F401
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim.scheduler import _ParamScheduler
from mmengine.registry import MODELS, PARAM_SCHEDULERS
from torch import nn

from backbones import VARIANTS
from backbones.engine.launch.config import unknown_keys
from downstream.cli.train import parse_args, prepare
from tests.conftest import ROOT

DET = sorted((ROOT / 'det_configs').glob('*.py'))
SEG = sorted((ROOT / 'seg_configs').glob('*.py'))
MAE = [path for path in sorted((ROOT / 'pretrain/configs').glob('*.py')) if path.stem != '__init__']
# What Mask R-CNN starts from, where it is not MAE.
STARTS = ('mocov3', 'deit', 'dino', 'beit')
PUBLISHED = [path for path in (*DET, *SEG) if path.stem.split('_')[-1] in ('base', 'large', 'huge', 'abswin', *STARTS)]


def configs(paths):
    return pytest.mark.parametrize('path', paths, ids=[path.stem for path in paths])


def build(cfg):
    """The model without memory behind it."""
    with torch.device('meta'):
        return MODELS.build({**cfg.model, '_scope_': cfg.default_scope})


def sizes(variant):
    return VARIANTS[variant] if isinstance(variant, str) else variant


def quarters(depth):
    return tuple(depth * (i + 1) // 4 - 1 for i in range(4))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_configs__the_promised_ones_exist():
    assert {path.stem for path in PUBLISHED} == {
        *(f'mask_rcnn_vit_{size}' for size in ('base', 'large', *(f'base_{start}' for start in STARTS))),
        *(f'mask_rcnn_vitdet_{size}' for size in ('base', 'large', 'huge', 'base_abswin')),
        *(f'upernet_{kind}_{size}' for kind in ('vit', 'beit', 'beitv2') for size in ('base', 'large')),
    }


@configs([*DET, *SEG, *MAE])
def test_config__rules(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 25
    assert 'tools/train.py ' + str(path.relative_to(ROOT)) in (ast.get_docstring(ast.parse(text)) or '')
    cfg = Config.fromfile(path)
    assert unknown_keys(cfg) == []
    for base in (path.parent / '_base_').glob('*.py'):
        assert '_base_ =' not in base.read_text(), f'{base}: one level of inheritance is enough'


@configs([*DET, *SEG])
def test_config__builds_with_the_widths_of_its_variant(path):
    cfg = Config.fromfile(path)
    model = build(cfg)
    width, depth = (sizes(cfg.model.backbone.variant)[key] for key in ('embed_dim', 'depth'))
    necks = cfg.model.neck if isinstance(cfg.model.neck, list) else [cfg.model.neck]
    assert [neck.in_channels for neck in necks] == [width, [width] * 4][: len(necks)]
    assert (model.backbone.embed_dim, model.backbone.depth) == (width, depth)
    assert model.backbone.out_indices[-1] == depth - 1
    if path in SEG:
        assert cfg.model.decode_head.in_channels == [width] * 4
        assert cfg.model.auxiliary_head.in_channels == width


@configs(DET)
def test_config__heads_take_the_necks_channels(path):
    cfg = Config.fromfile(path)
    necks = cfg.model.neck if isinstance(cfg.model.neck, list) else [cfg.model.neck]
    channels, heads = necks[-1].get('out_channels', 256), cfg.model.roi_head
    extractors = [heads.bbox_roi_extractor.out_channels, heads.mask_roi_extractor.out_channels]
    assert extractors == [channels] * 2
    assert [cfg.model.rpn_head.in_channels, heads.bbox_head.in_channels, heads.mask_head.in_channels] == [channels] * 3


@configs([path for path in PUBLISHED if path in DET])
def test_config__windows_and_norms(path):
    cfg = Config.fromfile(path)
    model = build(cfg)
    backbone, last = model.backbone, quarters(model.backbone.depth)
    assert tuple(cfg.model.backbone.global_blocks) == last
    assert [block.window_size for block in backbone.blocks] == [
        0 if index in last else cfg.model.backbone.window_size for index in range(backbone.depth)
    ]
    norms = [module for module in model.roi_head.modules() if isinstance(module, nn.LayerNorm | nn.SyncBatchNorm)]
    vitdet = 'vitdet' in path.stem
    assert {norm.eps for norm in norms} == {1e-6 if vitdet else 1e-5}
    assert len(norms) == 8
    assert isinstance(norms[0], nn.LayerNorm) == vitdet


@configs([path for path in DET if path.stem.split('vit')[1].split('_')[1:] in (['base'], ['large'])])
def test_config__24_gb_options(path, monkeypatch):
    text = ast.get_docstring(ast.parse(path.read_text()))
    [options] = re.findall(r'^In 24 GB: (.*)$', text, flags=re.MULTILINE)
    monkeypatch.setattr('downstream.cli.train.check_data', lambda cfg: [])
    cfg, _ = prepare(parse_args([str(path), '--pretrained', 'random', *options.split()]))
    assert cfg.optim_wrapper.type == 'BF16OptimWrapper'
    images, recipe = cfg.train_dataloader.batch_size * cfg.optim_wrapper.accumulative_counts, Config.fromfile(path)
    assert images == recipe.auto_scale_lr.base_batch_size == 64
    # As many updates as the recipe on 64 GPUs, so that they see the 118,000 images of COCO a hundred times.
    updates = cfg.train_cfg.max_iters // cfg.optim_wrapper.accumulative_counts
    assert updates == recipe.train_cfg.max_iters == 184375
    assert updates * images / 118_000 == pytest.approx(100)
    assert cfg.param_scheduler[0].end == 64 * recipe.param_scheduler[0].end
    assert 'SyncBN' not in str(cfg.model)
    assert not build(Config.fromfile(path)).backbone.act_checkpoint
    assert build(cfg).backbone.act_checkpoint


def test_parameters__vitdet_base_as_detectron2():
    model = build(Config.fromfile(ROOT / 'det_configs/mask_rcnn_vitdet_base.py'))
    # Counted on detectron2's own modules: 85.89 M without and 91.45 M with the pyramid.
    assert round(count(model.backbone) / 1e6, 2) == 85.89
    assert round((count(model.backbone) + count(model.neck)) / 1e6, 2) == 91.45


def test_parameters__mask_rcnn_base_as_mimdet_reports():
    model = build(Config.fromfile(ROOT / 'det_configs/mask_rcnn_vit_base.py'))
    # MIMDet's run of this model, 118.7 M, shares two relative-position tables per head, one of the 16 x 16 windows
    # and one of the 64 x 64 grid, where we have two one-dimensional tables a block; and it drops the class token's row.
    shared = 12 * (2 * 16 - 1) ** 2 + 12 * (2 * 64 - 1) ** 2
    decomposed = 8 * 2 * (2 * 16 - 1) * 64 + 4 * 2 * (2 * 64 - 1) * 64
    assert round((count(model) - decomposed + shared - 768) / 1e6, 1) == 118.7


def test_parameters__upernet_base_as_mmseg():
    cfg = Config.fromfile(ROOT / 'seg_configs/upernet_vit_base.py')
    sizes = dict(img_size=(512, 512), embed_dims=768, num_layers=12, num_heads=12, out_indices=[3, 5, 7, 11])
    theirs = [
        MODELS.build(dict(type='mmseg.MAE', init_values=1.0, **sizes)),
        MODELS.build(dict(type='mmseg.Feature2Pyramid', embed_dim=768)),
        MODELS.build({**cfg.model.decode_head, '_scope_': 'mmseg'}),
        MODELS.build({**cfg.model.auxiliary_head, '_scope_': 'mmseg'}),
    ]
    total = sum(map(count, theirs))
    assert round(total / 1e6, 1) == 163.9
    # Theirs has BEiT's relative-position tables, zero at the start, and layer scale, one at the start.
    tables, layer_scale = 12 * 12 * (63 * 63 + 3), 12 * 2 * 768
    assert count(build(cfg)) == total - tables - layer_scale


@configs([path for path in SEG if path.stem in ('upernet_beit_base', 'upernet_beitv2_base')])
def test_parameters__beit_base_as_mmseg(path):
    cfg = Config.fromfile(path)
    backbone = build(cfg).backbone
    width, depth, heads = VARIANTS[cfg.model.backbone.variant].values()
    sizes = dict(embed_dims=width, num_layers=depth, num_heads=heads, out_indices=[depth - 1])
    theirs = MODELS.build(dict(type='mmseg.BEiT', img_size=cfg.model.backbone.img_size, init_values=0.1, **sizes))
    # A bias on K, which BEiT does not have.
    assert count(backbone) == count(theirs) + depth * width


@configs([path for path in PUBLISHED if path in SEG])
def test_config__one_size_throughout(path):
    cfg = Config.fromfile(path)
    size = 640 if path.stem in ('upernet_beit_base', 'upernet_beit_large') else 512
    crop = next(step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'RandomCrop').crop_size
    assert {crop, cfg.model.data_preprocessor.size, cfg.model.test_cfg.crop_size} == {(size, size)}
    assert cfg.model.backbone.img_size == size
    assert cfg.model.test_cfg.stride == (size * 2 // 3,) * 2


def rates(cfg, iterations):
    """Learning rates of two groups, full and a thousandth, at every iteration."""
    groups = [dict(params=[nn.Parameter(torch.zeros(1))], lr=lr) for lr in (1.0, 1e-3)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    optimizer.step()
    schedulers = [PARAM_SCHEDULERS.build({**entry, 'optimizer': optimizer}) for entry in cfg.param_scheduler]
    assert all(isinstance(scheduler, _ParamScheduler) for scheduler in schedulers)
    for _ in range(iterations):
        yield [group['lr'] for group in optimizer.param_groups]
        for scheduler in schedulers:
            scheduler.step()


@configs([path for path in DET if path.stem.removeprefix('mask_rcnn_vit_base_') in STARTS])
def test_config__starts_differ_in_the_weights_alone(path):
    cfg, mae = Config.fromfile(path), Config.fromfile(ROOT / 'det_configs/mask_rcnn_vit_base.py')
    assert cfg.model.backbone.init_cfg != mae.model.backbone.init_cfg
    cfg.model.backbone.init_cfg = mae.model.backbone.init_cfg
    if path.stem.endswith('beit'):
        parts = {name: cfg.model.backbone.pop(name) for name in ('rel_pos', 'use_abs_pos', 'layer_scale')}
        assert parts == dict(rel_pos='table', use_abs_pos=False, layer_scale=0.1)
        cfg.model.backbone.rel_pos = mae.model.backbone.rel_pos
    assert cfg.to_dict() == mae.to_dict()


def of_each_schedule(paths):
    """The first config of each schedule and length."""
    first = {}
    for path in paths:
        cfg = Config.fromfile(path)
        first.setdefault(repr((cfg.param_scheduler, cfg.train_cfg.max_iters)), path)
    return list(first.values())


@pytest.mark.slow
@configs(of_each_schedule([*DET, *SEG]))
def test_schedule__positive_and_in_proportion_to_the_end(path):
    cfg = Config.fromfile(path)
    full, small = np.array(list(rates(cfg, cfg.train_cfg.max_iters))).T
    # Linear decay reaches zero at the last iteration.
    assert (full[:-1] > 0).all() and full[-1] >= 0
    np.testing.assert_allclose(small, full * 1e-3, rtol=1e-6)
    assert full.max() == pytest.approx(1.0, rel=1e-6)
    assert full[-1] < 0.02


@configs([*DET, *SEG])
def test_schedule__ends_with_the_training(path):
    cfg = Config.fromfile(path)
    last = cfg.param_scheduler[-1]
    if last.type == 'MultiStepLR':
        ratios = [milestone / cfg.train_cfg.max_iters for milestone in last.milestones]
        assert ratios == pytest.approx([8 / 9, 26 / 27], abs=1e-4)
    else:
        assert last.end == cfg.train_cfg.max_iters
    assert not any(entry.get('eta_min') for entry in cfg.param_scheduler)


@configs([path for path in PUBLISHED if 'mask_rcnn_vit_' in path.stem or path in SEG])
def test_config__says_the_batch_that_its_rate_is_for(path):
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert f'For {Config.fromfile(path).auto_scale_lr.base_batch_size} images an iteration' in text


@configs([path for path in MAE if not path.stem.endswith('quickstart') and path.stem != 'finetune_tiny'])
def test_config__no_batch_of_a_few_images(path):
    assert Config.fromfile(path).train_dataloader.drop_last


@configs([*DET, *SEG, *MAE])
def test_config__what_every_run_needs_is_a_default_hook(path):
    kinds = {hook.type for hook in Config.fromfile(path).default_hooks.values()}
    assert {'AtomicCheckpointHook', 'StopOnNonFinite', 'WatchLoader', 'DeferredLossLog'} <= kinds
    assert ('SeedEachEpoch' if path in MAE else 'SeedEachIteration') in kinds
