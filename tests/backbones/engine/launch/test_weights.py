"""What a model starts from: --pretrained and init_cfg resolve as the library does."""

import pytest
import torch
from huggingface_hub import constants
from mmengine.config import Config
from safetensors.torch import save_file

from backbones import PlainViT
from backbones.console.errors import UsageError
from backbones.engine.launch.config import read_config
from backbones.engine.launch.weights import find_backbones, pretrained_entry, set_pretrained
from tests.conftest import ROOT

SEG = ROOT / 'seg_configs/upernet_vit_tiny.py'
VIT = dict(type='PlainViT', variant='tiny', img_size=64)


@pytest.fixture
def weights(tmp_path):
    torch.save({'model': PlainViT('tiny', img_size=64).state_dict()}, tmp_path / 'vit.pth')
    return str(tmp_path / 'vit.pth')


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Weights under a published name and under an address, as they lie in the caches."""
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    state = PlainViT('tiny', img_size=64, out_norm=True).state_dict()
    folder, commit = tmp_path / 'hub/models--timm--vit_mine', '0123456789' * 4
    (folder / 'snapshots' / commit).mkdir(parents=True)
    (folder / 'refs').mkdir()
    (folder / 'refs/main').write_text(commit)
    save_file(state, folder / 'snapshots' / commit / 'model.safetensors')
    (tmp_path / 'torch/hub/checkpoints').mkdir(parents=True)
    torch.save({'model': state}, tmp_path / 'torch/hub/checkpoints/mine.pth')


def config(**backbone):
    return Config(dict(model=dict(type='EncoderDecoder', backbone=dict(VIT, **backbone))))


@pytest.mark.parametrize('name', ['timm/vit_mine', 'hf:timm/vit_mine', 'https://example.org/a/mine.pth'])
def test_set_pretrained__published_names(name, hub):
    cfg = config()
    assert set_pretrained(cfg, name) == f'backbone starts from: {name}'
    assert cfg.model.backbone.init_cfg == dict(type='PretrainedViT', checkpoint=name)
    cfg = config(init_cfg=dict(type='PretrainedViT', checkpoint=name))
    assert set_pretrained(cfg, None) == f'backbone starts from: {name}'


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('timm/vit_other', 'timm/vit_other cannot be fetched'),
        ('hf:a/b', 'hf:a/b cannot be fetched'),
        ('https://example.org/lost.pth', 'is an address: download the file'),
    ],
)
def test_set_pretrained__names_that_lead_nowhere(name, message, hub):
    with pytest.raises(UsageError, match=message):
        set_pretrained(config(), name)


def test_set_pretrained__all_but_the_checkpoint_stays(tmp_path, weights):
    init = dict(type='PretrainedViT', checkpoint='lost.pth', channels='mean', allow_missing=('cls_token',))
    cfg = config(in_channels=6, init_cfg=init)
    set_pretrained(cfg, weights)
    assert cfg.model.backbone.init_cfg == dict(init, checkpoint=weights)
    with pytest.raises(UsageError, match='does not fit the model'):
        set_pretrained(config(in_channels=6), weights)


def test_set_pretrained__init_cfg_as_a_list(weights):
    normal = dict(type='TruncNormal', layer='Linear', std=0.02)
    cfg = config(init_cfg=[normal, dict(type='PretrainedViT', checkpoint='lost.pth')])
    assert pretrained_entry(cfg.model.backbone.init_cfg).checkpoint == 'lost.pth'
    assert set_pretrained(cfg, weights) == f'backbone starts from: {weights}'
    assert cfg.model.backbone.init_cfg == [normal, dict(type='PretrainedViT', checkpoint=weights)]
    with pytest.raises(UsageError, match=r'lost.pth: there is no such file'):
        set_pretrained(config(init_cfg=[dict(type='PretrainedViT', checkpoint='lost.pth')]), None)
    assert set_pretrained(cfg, 'random') == 'backbone starts from: random weights'
    assert cfg.model.backbone.init_cfg == [normal]
    cfg = config(init_cfg=normal)
    set_pretrained(cfg, weights)
    assert cfg.model.backbone.init_cfg == [normal, dict(type='PretrainedViT', checkpoint=weights)]


def test_set_pretrained__arguments_that_the_door_does_not_know(weights):
    init = dict(type='PretrainedViT', checkpoint=weights, chanels='mean')
    with pytest.raises(UsageError, match=r'takes allow_missing, channels, .*not chanels'):
        set_pretrained(config(init_cfg=init), None)


def test_set_pretrained__load_from_would_come_on_top(weights):
    cfg = config()
    cfg.load_from = 'whole.pth'
    with pytest.raises(UsageError, match=r'load_from=whole.pth of the config fills the whole model'):
        set_pretrained(cfg, weights)
    assert set_pretrained(cfg, None) == 'the whole model starts from: whole.pth'


def upstream(**model):
    return Config(dict(model=model))


RESNET = dict(type='mmdet.ResNet', depth=50, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'))


def test_set_pretrained__backbones_of_others(weights, tmp_path):
    cfg = upstream(type='FasterRCNN', backbone=dict(RESNET))
    assert set_pretrained(cfg, None) == 'backbone starts from: torchvision://resnet50'
    set_pretrained(cfg, weights)
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint=weights)
    with pytest.raises(UsageError, match=r'lost.pth: there is no such file'):
        set_pretrained(cfg, 'lost.pth')
    assert set_pretrained(cfg, 'random') == 'backbone starts from: random weights'
    cfg = upstream(type='EncoderDecoder', pretrained='open-mmlab://resnet50_v1c', backbone=dict(type='mmseg.ResNetV1c'))
    assert set_pretrained(cfg, None) == 'backbone starts from: open-mmlab://resnet50_v1c'
    set_pretrained(cfg, 'random')
    assert cfg.model.pretrained is None


def test_set_pretrained__models_around_models(weights):
    teacher = upstream(type='SoftTeacher', detector=dict(type='FasterRCNN', backbone=dict(RESNET)))
    assert [name for name, _ in find_backbones(teacher.model)] == ['detector.backbone']
    assert set_pretrained(teacher, None) == 'detector.backbone starts from: torchvision://resnet50'
    set_pretrained(teacher, 'random')
    assert teacher.model.detector.backbone.init_cfg is None
    two = upstream(
        type='DeepSORT', detector=dict(type='A', backbone=dict(RESNET)), reid=dict(type='B', backbone=RESNET)
    )
    with pytest.raises(UsageError, match=r'one backbone; DeepSORT has several.*model.detector.backbone.init_cfg'):
        set_pretrained(two, weights)
    none = upstream(type='Detectron2Wrapper')
    assert set_pretrained(none, None) == 'Detectron2Wrapper starts from random weights'
    with pytest.raises(UsageError, match='has neither backbone nor encoder'):
        set_pretrained(none, weights)


def test_set_pretrained__pretrained_vit_belongs_to_a_plain_vit(weights):
    cfg = upstream(type='FasterRCNN', backbone=dict(RESNET, init_cfg=dict(type='PretrainedViT', checkpoint=weights)))
    with pytest.raises(UsageError, match=r'fills a PlainViT, not a mmdet.ResNet'):
        set_pretrained(cfg, None)


def test_set_pretrained__the_shipped_configs():
    for path in (SEG, ROOT / 'pretrain/configs/beit_tiny.py'):
        assert 'random weights' in set_pretrained(read_config(path), None)
