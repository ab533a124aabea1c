"""The door and layer decay inside the real thing: Mask R-CNN of mmdet, UperNet of mmseg, mmengine's Runner."""

import logging
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope
from mmengine.runner import Runner

from backbones import PlainViT, load_pretrained
from pretrain.methods.mae import MaskedAutoencoder
from tests.helpers import randomise

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = {'mmdet': 'det_configs/mask_rcnn_vit_tiny.py', 'mmseg': 'seg_configs/upernet_vit_tiny.py'}


@pytest.fixture(scope='module')
def pretraining(tmp_path_factory):
    """File of a pretraining run, in mmengine's layout, and the encoder's weights in it."""
    encoder = dict(type='PlainViT', variant='tiny', img_size=96, out_norm=True)
    model = randomise(MaskedAutoencoder(encoder, decoder=dict(embed_dim=16, depth=1, num_heads=2)))
    path = tmp_path_factory.mktemp('pretraining') / 'epoch_1.pth'
    torch.save({'meta': {'epoch': 1}, 'state_dict': model.state_dict(), 'optimizer': {}, 'message_hub': {}}, path)
    return path, model.encoder.state_dict()


def build(scope, init_cfg=None):
    cfg = Config.fromfile(ROOT / CONFIGS[scope])
    cfg.model.backbone.init_cfg = init_cfg
    with DefaultScope.overwrite_default_scope(scope):
        __import__(f'{scope}.models')
        return MODELS.build(cfg.model), cfg


@pytest.fixture(scope='module', params=CONFIGS)
def scope(request):
    return request.param


@pytest.fixture(scope='module')
def built(scope, pretraining):
    """A real model initialised the way the Runner does it, its config, and the messages of the way."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = MMLogger.get_instance(f'init_{scope}')
    logger.addHandler(handler)
    model, cfg = build(scope, dict(type='PretrainedViT', checkpoint=str(pretraining[0])))
    with DefaultScope.overwrite_default_scope(scope):
        model.init_weights()
    logger.removeHandler(handler)
    return model, cfg, messages


def test_init_cfg__backbone_holds_the_encoder(built, pretraining):
    backbone, encoder = built[0].backbone.state_dict(), pretraining[1]
    assert set(encoder) - set(backbone) == {'norm.weight', 'norm.bias'}
    for name in backbone.keys() - {'pos_embed'}:
        torch.testing.assert_close(backbone[name], encoder[name], rtol=0, atol=0, msg=name)
    torch.testing.assert_close(backbone['pos_embed'][:, 0], encoder['pos_embed'][:, 0], rtol=0, atol=0)
    assert backbone['pos_embed'].shape == (1, 257, 192)


def test_init_cfg__reported_once(built):
    reports = [message for message in built[2] if 'weights loaded' in message]
    assert len(reports) == 1
    assert 'format       dense-mae pretraining' in reports[0]
    assert 'resized      pos_embed: (1, 37, 192) -> (1, 257, 192)' in reports[0]


def test_init_cfg__told_in_mmengines_account(built):
    (account,) = [message for message in built[2] if 'backbone.blocks.3.attn.qkv.weight' in message]
    assert 'PretrainedViT: load from' in account


def test_fine_tuned_file__backbone_goes_to_another_task(built, tmp_path):
    torch.save({'meta': {}, 'state_dict': built[0].state_dict()}, tmp_path / 'fine_tuned.pth')
    vit = PlainViT('tiny', img_size=256)
    report = load_pretrained(vit, tmp_path / 'fine_tuned.pth')
    assert report.format == 'dense-mae detector or segmentor'
    for name, value in built[0].backbone.state_dict().items():
        torch.testing.assert_close(vit.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_layer_wise_decay__on_the_real_model(built):
    model = built[0]
    cfg = dict(
        optimizer=dict(type='AdamW', lr=2.0, weight_decay=0.3),
        constructor='LayerWiseDecay',
        paramwise_cfg=dict(decay_rate=0.75),
    )
    actual = {
        id(p): (group['lr'], group['weight_decay'])
        for group in build_optim_wrapper(model, cfg).optimizer.param_groups
        for p in group['params']
    }
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(actual) == len(trainable)
    for name, parameter in trainable.items():
        depth = 13
        if re.match(r'backbone\.(cls_token|pos_embed|patch_embed\.)', name):
            depth = 0
        elif block := re.match(r'backbone\.blocks\.(\d+)\.', name):
            depth = int(block[1]) + 1
        exempt = parameter.ndim == 1 or name in ('backbone.pos_embed', 'backbone.cls_token')
        lr, weight_decay = actual[id(parameter)]
        assert lr == pytest.approx(2.0 * 0.75 ** (13 - depth)), name
        assert weight_decay == (0.0 if exempt else 0.3), name


def test_layer_wise_decay__as_the_config_says(built):
    model, cfg, _ = built
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    lrs = [group['lr'] for group in wrapper.optimizer.param_groups]
    rate, full = cfg.optim_wrapper.paramwise_cfg.decay_rate, cfg.optim_wrapper.optimizer.lr
    assert max(lrs) == full
    assert min(lrs) == pytest.approx(full * rate**13)
    assert len(lrs) == 28


@pytest.mark.parametrize(
    'schedule', sorted(str(p.relative_to(ROOT)) for p in ROOT.glob('*_configs/_base_/schedule*.py'))
)
def test_layer_wise_decay__shipped_schedules_keep_the_ratios(schedule):
    cfg = Config.fromfile(ROOT / schedule)
    vit = PlainViT(dict(embed_dim=8, depth=2, num_heads=2), img_size=16, patch_size=8)
    wrapper = build_optim_wrapper(vit, cfg.optim_wrapper)
    groups = wrapper.optimizer.param_groups
    start = [group['lr'] for group in groups]
    schedulers = [PARAM_SCHEDULERS.build(dict(shortened(s), optimizer=wrapper)) for s in cfg.param_scheduler]
    full = cfg.optim_wrapper.optimizer.lr
    lrs = []
    for _ in range(cfg.train_cfg.max_iters // SHORTER):
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
        lrs.append(wrapper.get_lr()['base_lr'][0])
        assert [g['lr'] for g in groups] == pytest.approx([lr * lrs[-1] / full for lr in start], rel=1e-6, abs=1e-15)
    assert max(lrs) == pytest.approx(full, rel=0.01)
    assert lrs[-1] < 0.02 * full


SHORTER = 50


def shortened(scheduler):
    """The scheduler with its iterations divided, to see its end in a test."""
    scheduler = dict(scheduler)
    for key in ('begin', 'end'):
        if key in scheduler:
            scheduler[key] = scheduler[key] // SHORTER
    if 'milestones' in scheduler:
        scheduler['milestones'] = [milestone // SHORTER for milestone in scheduler['milestones']]
    return scheduler


# mmengine's own ways


TOY = dict(embed_dim=24, depth=2, num_heads=2)


@pytest.fixture
def toy_file(tmp_path):
    state = randomise(PlainViT(TOY, img_size=32, patch_size=8)).state_dict()
    torch.save({'model': state}, tmp_path / 'toy.pth')
    return str(tmp_path / 'toy.pth'), state


class Pooled(BaseModel):
    """A backbone inside a model that the Runner trains."""

    def __init__(self, checkpoint):
        super().__init__(init_cfg=dict(type='Constant', layer='Linear', val=0.5))
        init_cfg = dict(type='PretrainedViT', checkpoint=checkpoint)
        self.backbone = PlainViT(TOY, img_size=32, patch_size=8, init_cfg=init_cfg)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return {'loss': self.backbone(torch.stack(inputs))[0].square().mean()}


def test_init_cfg__kept_through_the_runner_and_its_file(toy_file, tmp_path):
    model = Pooled(toy_file[0])
    runner = Runner(
        model,
        str(tmp_path),
        train_dataloader=dict(
            dataset=[{'inputs': torch.ones(3, 32, 32)}] * 2,
            batch_size=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=False, max_iters=1),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.0, weight_decay=0.0),
            constructor='LayerWiseDecay',
            paramwise_cfg=dict(decay_rate=0.5),
        ),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1)),
        experiment_name='init_cfg_runner',
    )
    runner.train()
    reread = PlainViT(TOY, img_size=32, patch_size=8)
    load_pretrained(reread, tmp_path / 'iter_1.pth')
    for vit in (model.backbone, reread):
        for name, value in toy_file[1].items():
            torch.testing.assert_close(vit.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_init_cfg__loads_once(toy_file):
    vit = PlainViT(TOY, img_size=32, patch_size=8, init_cfg=dict(type='PretrainedViT', checkpoint=toy_file[0]))
    vit.init_weights()
    torch.testing.assert_close(vit.state_dict(), toy_file[1], rtol=0, atol=0)
    with torch.no_grad():
        vit.cls_token.fill_(3.0)
    vit.init_weights()
    assert vit.cls_token.eq(3.0).all()


def test_init_cfg__allow_missing(toy_file):
    init_cfg = dict(type='PretrainedViT', checkpoint=toy_file[0])
    with pytest.raises(ValueError, match=r'wrong shape  patch_embed.proj.weight'):
        PlainViT(TOY, img_size=32, patch_size=8, in_channels=4, init_cfg=init_cfg).init_weights()
    init_cfg['allow_missing'] = ['patch_embed']
    vit = PlainViT(TOY, img_size=32, patch_size=8, in_channels=4, init_cfg=init_cfg)
    vit.init_weights()
    torch.testing.assert_close(vit.cls_token.data, toy_file[1]['cls_token'])


def test_init_cfg__on_another_module(toy_file):
    class Head(BaseModel):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            return inputs

    with pytest.raises(ValueError, match='not a Head: put the init_cfg on the backbone'):
        Head(init_cfg=dict(type='PretrainedViT', checkpoint=toy_file[0])).init_weights()
