"""Data sets below wrappers and scopes: --data-root reaches the innermost, and refuses what has no rule."""

import pytest
from mmengine.config import Config, ConfigDict

from backbones.console.errors import UsageError
from backbones.data.pointing.datasets import inner_datasets
from backbones.data.pointing.root import apply_data_root
from backbones.engine.launch.commands import check_data
from tests.conftest import ROOT
from tests.datasets import make_ade, make_coco, write_images


def config(name):
    return Config.fromfile(ROOT / name)


def wrapped(cfg, wrap, loaders=('train_dataloader',)):
    for loader in loaders:
        cfg[loader].dataset = ConfigDict(wrap(cfg[loader].dataset))
    return cfg


DET, SEG, MAE = 'det_configs/mask_rcnn_vit_tiny.py', 'seg_configs/upernet_vit_tiny.py', 'pretrain/configs/mae_tiny.py'
WRAPS = {
    'repeat': lambda inner: dict(type='RepeatDataset', times=25, dataset=inner),
    'class balanced': lambda inner: dict(type='ClassBalancedDataset', oversample_thr=1e-3, dataset=inner),
    'mixed images': lambda inner: dict(type='MultiImageMixDataset', dataset=inner, pipeline=[]),
    'concatenation of one': lambda inner: dict(type='ConcatDataset', datasets=[inner]),
    'nested': lambda inner: dict(
        type='mmdet.ConcatDataset', datasets=[dict(type='RepeatDataset', times=2, dataset=inner)]
    ),
}


@pytest.mark.parametrize('wrap', sorted(WRAPS))
def test_apply_data_root__sets_the_wrapped_data_set(tmp_path, wrap):
    root = make_coco(tmp_path)
    cfg = wrapped(config(DET), WRAPS[wrap])
    outside = {key: value for key, value in cfg.train_dataloader.dataset.items() if key not in ('dataset', 'datasets')}
    apply_data_root(cfg, root)
    (inner,) = inner_datasets(cfg.train_dataloader.dataset)
    assert inner.ann_file == str(root / 'annotations/instances_train.json')
    assert inner.metainfo.classes == ('red', 'green', 'blue')
    assert cfg.model.roi_head.bbox_head.num_classes == 3
    after = {key: value for key, value in cfg.train_dataloader.dataset.items() if key not in ('dataset', 'datasets')}
    assert after == outside


def test_apply_data_root__types_in_a_scope(tmp_path):
    cfg = config(DET)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[loader].dataset.type = 'mmdet.CocoDataset'
    apply_data_root(cfg, make_coco(tmp_path / 'coco'))
    assert cfg.train_dataloader.dataset.ann_file == str(tmp_path / 'coco/annotations/instances_train.json')
    cfg = config(SEG)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[loader].dataset.type = 'mmseg.ADE20KDataset'
    apply_data_root(cfg, make_ade(tmp_path / 'ade'))
    assert cfg.train_dataloader.dataset.data_prefix.img_path == str(tmp_path / 'ade/images/training')
    assert cfg.train_dataloader.dataset.type.startswith('mmseg.')


@pytest.mark.parametrize(
    'kind', ['LVISV1Dataset', 'mmdet.VOCDataset', 'CityscapesDataset', 'mmseg.PascalVOCDataset', 'MyOwnImages']
)
@pytest.mark.parametrize('loader', ['train_dataloader', 'val_dataloader'])
def test_apply_data_root__refuses_types_without_a_rule(tmp_path, kind, loader):
    cfg = config(DET)
    cfg[loader].dataset.type = kind
    with pytest.raises(
        ValueError, match=rf'{loader} reads {kind.split(".")[-1]}, which --data-root knows no layout of'
    ):
        apply_data_root(cfg, make_coco(tmp_path))
    assert cfg.train_dataloader.dataset.data_root == 'data/coco'


def test_apply_data_root__refuses_several_data_sets_in_one_loader(tmp_path):
    cfg = wrapped(config(DET), lambda inner: dict(type='ConcatDataset', datasets=[inner, inner]))
    with pytest.raises(ValueError, match=r'reads 2 data sets \(CocoDataset, CocoDataset\) and --data-root is one'):
        apply_data_root(cfg, make_coco(tmp_path))


def test_apply_data_root__refuses_other_kinds_in_training_and_validation(tmp_path):
    cfg = config(DET)
    cfg.val_dataloader.dataset.type = 'UnlabelledImages'
    with pytest.raises(ValueError, match=r'cannot serve CocoDataset \(t.*_dataloader\) and UnlabelledImages \(val_'):
        apply_data_root(cfg, make_coco(tmp_path))


def test_apply_data_root__wrapped_unlabelled_images(tmp_path):
    write_images(tmp_path, range(2))
    cfg = wrapped(config(MAE), WRAPS['repeat'])
    apply_data_root(cfg, tmp_path)
    assert cfg.train_dataloader.dataset.dataset.data_root == [str(tmp_path)]
    assert 'data_root' not in cfg.train_dataloader.dataset


def test_apply_data_root__shards_take_one_directory(tmp_path):
    cfg = config(MAE)
    cfg.train_dataloader.dataset.type = 'ShardedImages'
    apply_data_root(cfg, tmp_path)
    assert cfg.train_dataloader.dataset.data_root == str(tmp_path)
    with pytest.raises(ValueError, match='ShardedImages takes one --data-root, got 2'):
        apply_data_root(cfg, [tmp_path, tmp_path])


def test_check_data__sees_through_wrappers(tmp_path):
    cfg = wrapped(config(DET), WRAPS['nested'], ('train_dataloader', 'val_dataloader'))
    with pytest.raises(UsageError, match=r'train data data/coco/annotations/instances_train2017.json: there is no'):
        check_data(cfg)
    apply_data_root(cfg, make_coco(tmp_path))
    check_data(cfg)
