"""One size everywhere: each shipped config is compared with what another size of it must be."""

import pytest
from mmengine.config import Config

from backbones.engine.launch.image_size import check_image_size, set_image_size
from tests.conftest import ROOT


def read(path):
    return Config.fromfile(ROOT / path)


def sizes(node, found=None):
    """Every size in a pipeline."""
    found = [] if found is None else found
    for step in node:
        found += [step[key] for key in ('scale', 'crop_size') if key in step]
    return found


def test_set_image_size__detection():
    cfg = read('det_configs/mask_rcnn_vitdet_base.py')
    set_image_size(cfg, 512)
    assert cfg.model.backbone.img_size == 512
    assert cfg.model.backbone.pretrain_img_size == 224
    assert cfg.model.data_preprocessor.pad_size_divisor == 512
    assert sizes(cfg.train_dataloader.dataset.pipeline) == [(512, 512), (512, 512)]
    for part in (cfg.val_dataloader, cfg.test_dataloader):
        assert sizes(part.dataset.pipeline) == [(512, 512)]


def test_set_image_size__detection_pads_to_the_stride_of_the_pyramid():
    cfg = read('det_configs/mask_rcnn_vit_tiny.py')
    set_image_size(cfg, 128)
    assert cfg.model.data_preprocessor.pad_size_divisor == 32


def test_set_image_size__segmentation_of_one_size_is_the_other_config():
    cfg, larger = read('seg_configs/upernet_vit_base.py'), read('seg_configs/upernet_beit_base.py')
    set_image_size(cfg, 640)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert cfg[name].dataset.pipeline == larger[name].dataset.pipeline
    assert cfg.model.test_cfg == larger.model.test_cfg
    assert cfg.model.data_preprocessor.size == (640, 640)
    assert cfg.model.backbone.img_size == 640


@pytest.mark.parametrize('method', ['mae', 'beit', 'simmim', 'dae'])
def test_set_image_size__pretraining(method):
    cfg = read(f'pretrain/configs/{method}_base.py')
    set_image_size(cfg, 160)
    dataset = cfg.train_dataloader.dataset
    assert (cfg.model.encoder.img_size, dataset.crop_size) == (160, 160)
    # A code for each patch: the tokenizer's stride is 8, the patch 16.
    assert dataset.get('token_size') == (80 if method == 'beit' else None)


def test_set_image_size__fine_tuning():
    cfg = read('pretrain/configs/finetune_beit_base.py')
    set_image_size(cfg, 384)
    higher = read('pretrain/configs/finetune_beit_base_384.py')
    assert cfg.model.backbone.img_size == 384
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert cfg[name].dataset.transform == higher[name].dataset.transform


def test_set_image_size__tokenizer():
    cfg = read('pretrain/configs/tokenizer_tiny.py')
    set_image_size(cfg, 128)
    assert cfg.train_dataloader.dataset.crop_size == 128


def test_set_image_size__wrapped_data_and_nested_transforms():
    cfg = read('det_configs/mask_rcnn_vit_tiny.py')
    inner = cfg.train_dataloader.dataset
    inner.pipeline = [
        dict(type='RandomChoice', transforms=[[dict(type='Resize', scale=(256, 256))],
                                              [dict(type='RandomChoiceResize', scales=[(128, 256), (256, 512)])]]),
        dict(type='RandomCrop', crop_type='relative_range', crop_size=(0.5, 0.5)),
    ]  # fmt: skip
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)
    set_image_size(cfg, 128)
    [choice, crop] = cfg.train_dataloader.dataset.dataset.pipeline
    assert choice.transforms[0][0].scale == (128, 128)
    assert choice.transforms[1][0].scales == [(64, 128), (128, 256)]
    assert crop.crop_size == (0.5, 0.5)


def test_set_image_size__the_same_size_changes_nothing():
    for path in (
        'det_configs/mask_rcnn_vit_base.py',
        'seg_configs/upernet_vit_tiny.py',
        'pretrain/configs/beit_base.py',
    ):
        cfg = read(path)
        size = (cfg.model.get('backbone') or cfg.model.encoder).img_size
        set_image_size(cfg, size)
        assert cfg.to_dict() == read(path).to_dict()


def test_set_image_size__what_has_no_size():
    cfg = read('pretrain/configs/beit_base.py')
    with pytest.raises(ValueError, match='--img-size 100 is no multiple of the patch of 16 px'):
        set_image_size(cfg, 100)
    cfg.train_dataloader.dataset.type = 'CachedTokenImages'
    with pytest.raises(ValueError, match=r'finds no size to set in train_dataloader.dataset \(CachedTokenImages\)'):
        set_image_size(cfg, 160)
    cfg.model.encoder.type = 'ResNet'
    with pytest.raises(ValueError, match='--img-size sets PlainViT, this config has ResNet'):
        set_image_size(cfg, 160)


def test_check_image_size__tells_of_resampled_positions():
    cfg = read('pretrain/configs/mae_base.py')
    assert check_image_size(cfg) == []
    cfg.train_dataloader.dataset.crop_size = 160
    [line] = check_image_size(cfg)
    assert 'images are cut to 160 px and the model is built for 224' in line
    assert '--img-size 160 sets both' in line
    cfg = read('pretrain/configs/finetune_base.py')
    cfg.train_dataloader.dataset.transform.size = 384
    assert len(check_image_size(cfg)) == 1
    cfg.model.backbone.type = 'ResNet'
    assert check_image_size(cfg) == []
