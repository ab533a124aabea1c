"""--data-root: what is found on disk ends up everywhere in the config."""

import json
import shutil

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from backbones.data.pointing.places import palette
from backbones.data.pointing.root import apply_data_root
from backbones.data.split import training_folders, training_root
from tests.conftest import ROOT
from tests.datasets import CATEGORIES, CLASSES, coco_content, draw, make_ade, make_coco, make_folders, write_images

COCO_VARIANTS = {
    'coco': dict(images='{}', splits=('train2017', 'val2017')),
    'images': dict(),
    'folders': dict(images='{}', annotations='annotations/{}.json'),
    'roboflow': dict(images='{}', annotations='{}/_annotations.coco.json', splits=('train', 'valid')),
}


def det_config():
    return Config.fromfile(ROOT / 'det_configs/mask_rcnn_vit_tiny.py')


def seg_config():
    return Config.fromfile(ROOT / 'seg_configs/upernet_vit_tiny.py')


def mae_config():
    return Config.fromfile(ROOT / 'pretrain/configs/mae_tiny.py')


def build(dataset, scope):
    """The dataset alone, without transforms."""
    import mmdet.datasets  # noqa: F401
    import mmseg.datasets  # noqa: F401
    from mmengine.registry import DATASETS

    return DATASETS.build({**dataset, '_scope_': scope, 'pipeline': []})


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize('variant', sorted(COCO_VARIANTS))
def test_apply_data_root__coco_layouts(tmp_path, variant):
    make_coco(tmp_path, **COCO_VARIANTS[variant])
    cfg = det_config()
    apply_data_root(cfg, tmp_path)
    train, val = build(cfg.train_dataloader.dataset, 'mmdet'), build(cfg.val_dataloader.dataset, 'mmdet')
    assert [info['img_path'][-7:] for info in train.load_data_list()] == ['000.jpg', '001.jpg', '002.jpg', '003.jpg']
    assert [info['img_path'][-7:] for info in val.load_data_list()] == ['004.jpg', '005.jpg']
    assert all((tmp_path / info['img_path']).is_file() for info in train.load_data_list())
    assert cfg.test_evaluator.ann_file == cfg.test_dataloader.dataset.ann_file == val.ann_file


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 0, 1)])
def test_apply_data_root__labels_mean_the_named_class(tmp_path, order):
    make_coco(tmp_path)
    for split in ('train', 'val'):
        rewrite(tmp_path / f'annotations/instances_{split}.json', categories=[CATEGORIES[i] for i in order])
    cfg = det_config()
    apply_data_root(cfg, tmp_path)
    dataset = build(cfg.val_dataloader.dataset, 'mmdet')
    for info in dataset.load_data_list():
        names = [dataset.metainfo['classes'][instance['bbox_label']] for instance in info['instances']]
        assert names == CLASSES  # draw() makes one of each, in this order


def test_apply_data_root__heads_and_report(tmp_path):
    cfg = det_config()
    cascade = [dict(type='Shared2FCBBoxHead', num_classes=80), dict(type='Shared2FCBBoxHead', num_classes=80)]
    cfg.model.roi_head.bbox_head = cascade
    report = apply_data_root(cfg, make_coco(tmp_path))
    heads = [*cfg.model.roi_head.bbox_head, cfg.model.roi_head.mask_head]
    assert [head.num_classes for head in heads] == [3, 3, 3]
    assert '3 classes: red, green, blue' in report
    assert 'model.roi_head.bbox_head.1.num_classes = 3' in report


def test_apply_data_root__evaluators_in_lists(tmp_path):
    cfg = det_config()
    cfg.val_evaluator = [cfg.val_evaluator, dict(type='DumpResults', out_file_path='x.pkl')]
    apply_data_root(cfg, make_coco(tmp_path))
    assert cfg.val_evaluator[0].ann_file == str(tmp_path / 'annotations/instances_val.json')
    assert 'ann_file' not in cfg.val_evaluator[1]


BROKEN = {
    'two names': (dict(categories=[*CATEGORIES, {'id': 20, 'name': 'red'}]), "'red' occurs twice"),
    'two ids': (
        dict(categories=[*CATEGORIES, {'id': 18, 'name': 'grey'}]),
        '1 of 4 categories share their id with another: 18',
    ),
    'no name': (dict(categories=[{'id': 1, 'name': ' '}]), 'is no name'),
    'no classes': (dict(categories=[]), '0 categories and 2 images'),
    'no file': (dict(images=[{'id': 1, 'file_name': 'lost.jpg'}]), '1 of 1 images are not in .*val: lost.jpg'),
    'no coco': (dict(categories=None), "is no COCO annotation file: 'categories' is missing"),
    'other order': (dict(categories=CATEGORIES[::-1]), 'in another order'),
}


@pytest.mark.parametrize('case', sorted(BROKEN))
def test_apply_data_root__broken_annotations(tmp_path, case):
    changes, message = BROKEN[case]
    make_coco(tmp_path)
    rewrite(tmp_path / 'annotations/instances_val.json', **changes)
    with pytest.raises(ValueError, match=message):
        apply_data_root(det_config(), tmp_path)


def test_apply_data_root__unknown_layout_shows_the_known(tmp_path):
    write_images(tmp_path / 'photos', range(1))
    with pytest.raises(ValueError, match=r'not known. Known layouts:\n  COCO:(.|\n)*Roboflow'):
        apply_data_root(det_config(), tmp_path)
    with pytest.raises(ValueError, match=r'not known. Known layouts:\n  ADE20K:'):
        apply_data_root(seg_config(), tmp_path)
    with pytest.raises(ValueError, match='there is no such directory'):
        apply_data_root(det_config(), tmp_path / 'nowhere')


def test_apply_data_root__needed_parts(tmp_path):
    make_coco(tmp_path)
    (tmp_path / 'annotations/instances_train.json').unlink()
    with pytest.raises(ValueError, match='has no train part'):
        apply_data_root(det_config(), tmp_path)
    cfg = det_config()
    apply_data_root(cfg, tmp_path, need=('val',))
    assert cfg.val_dataloader.dataset.metainfo.classes == ('red', 'green', 'blue')
    assert cfg.train_dataloader.dataset.data_root == 'data/coco'


def test_apply_data_root__one_directory_for_labels(tmp_path):
    with pytest.raises(ValueError, match='takes one --data-root, got 2'):
        apply_data_root(det_config(), [make_coco(tmp_path / 'a'), make_coco(tmp_path / 'b')])


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_apply_data_root__ade(tmp_path, suffix):
    cfg = seg_config()
    cfg.model.auxiliary_head = [cfg.model.auxiliary_head, {**cfg.model.auxiliary_head, 'in_index': 1}]
    report = apply_data_root(cfg, make_ade(tmp_path, suffix))
    dataset = build(cfg.train_dataloader.dataset, 'mmseg')
    found = dataset.load_data_list()
    assert [info['img_path'] for info in found] == [str(tmp_path / f'images/training/00{i}{suffix}') for i in range(4)]
    assert [head.num_classes for head in (cfg.model.decode_head, *cfg.model.auxiliary_head)] == [3, 3, 3]
    assert dataset.metainfo['classes'] == tuple(CLASSES)
    assert '3 classes: red, green, blue' in report


def test_apply_data_root__ade_labels_mean_the_named_class(tmp_path):
    cfg = seg_config()
    apply_data_root(cfg, make_ade(tmp_path))
    dataset = build(cfg.val_dataloader.dataset, 'mmseg')
    from mmseg.datasets.transforms import LoadAnnotations

    info = LoadAnnotations()({**dataset.load_data_list()[0]})
    expected = draw(4)[1].astype(int) - 1  # the first image of the validation part
    expected[expected < 0] = 255
    np.testing.assert_array_equal(info['gt_seg_map'], expected)


def test_apply_data_root__ade_challenge(tmp_path):
    home = make_ade(tmp_path / 'ADEChallengeData2016')
    (home / 'classes.txt').unlink()
    rows = [f'{i + 1}\t0.1\t5\t2\t{name}, thing' for i, name in enumerate(CLASSES)]
    (home / 'objectInfo150.txt').write_text('\n'.join(['Idx\tRatio\tTrain\tVal\tName', *rows]))
    cfg = seg_config()
    apply_data_root(cfg, tmp_path)
    assert cfg.train_dataloader.dataset.metainfo.classes == ('red, thing', 'green, thing', 'blue, thing')


def test_apply_data_root__ade_mistakes(tmp_path):
    root = make_ade(tmp_path)
    mask = root / 'annotations/validation/004.png'
    cv2.imwrite(str(mask), np.full((48, 64), 9, np.uint8))
    with pytest.raises(ValueError, match=r'004.png holds label 9, but .*classes.txt names 3 classes'):
        apply_data_root(seg_config(), root)
    cv2.imwrite(str(mask), np.full((48, 64), 255, np.uint8))  # ignored, as 0
    apply_data_root(seg_config(), root)
    mask.unlink()
    with pytest.raises(ValueError, match=r'1 of 2 images in .* have no mask in .*004.jpg'):
        apply_data_root(seg_config(), root)
    (root / 'classes.txt').unlink()
    with pytest.raises(ValueError, match=r'classes.txt is missing'):
        apply_data_root(seg_config(), root)


def test_apply_data_root__pretraining_never_sees_validation_images(tmp_path):
    coco, ade, photos = make_coco(tmp_path / 'coco'), make_ade(tmp_path / 'ade'), tmp_path / 'photos'
    write_images(photos, range(2))
    cfg = mae_config()
    report = apply_data_root(cfg, [coco, ade, photos])
    assert cfg.train_dataloader.dataset.data_root == [
        str(coco / 'images/train'),
        str(ade / 'images/training'),
        str(photos),
    ]
    assert 'only the training images' in report[0]
    assert 'only' not in report[2]


@pytest.mark.parametrize(
    ('folders', 'kept'),
    [
        ('unlabeled test', 'unlabeled'),
        ('images images_test val2017', 'images'),
        ('cats dogs test2017', 'cats dogs'),
        ('bullets test-tubes', 'bullets test-tubes'),
        ('test1 test2', 'test1 test2'),
        ('masks test', 'masks test'),
    ],
)
def test_training_folders__images_for_test_beside_others(folders, kept):
    assert training_folders(folders.split()) == kept.split()


@pytest.mark.parametrize(
    ('root', 'message'),
    [
        ('', '--data-root is empty: give a directory'),
        (__file__, r'test_root\.py: is a file, and a directory is needed'),
        ('https://example.org/images', r'--data-root https://example.org/images: there is no such directory'),
    ],
)
def test_apply_data_root__what_is_no_directory(root, message):
    with pytest.raises(ValueError, match=message):
        apply_data_root(mae_config(), [root])


def test_apply_data_root__home(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    write_images(tmp_path / 'photos', range(2))
    cfg = mae_config()
    apply_data_root(cfg, '~/photos')
    assert cfg.train_dataloader.dataset.data_root == [str(tmp_path / 'photos')]


def test_training_root__validation_only(tmp_path):
    (tmp_path / 'annotations').mkdir()
    write_images(tmp_path / 'images/val', range(2))
    (tmp_path / 'annotations/instances_val.json').write_text(json.dumps(coco_content(range(2))))
    with pytest.raises(ValueError, match='holds only validation images'):
        training_root(tmp_path)


def test_palette__distinct_colours():
    colours = palette(150)
    assert len({tuple(colour) for colour in colours}) == 150
    assert all(0 <= value <= 255 for colour in colours for value in colour)
    assert palette(3) == [(230, 0, 0), (0, 47, 160), (134, 230, 0)]


def class_config():
    return Config.fromfile(ROOT / 'pretrain/configs/finetune_tiny.py')


@pytest.mark.parametrize('val', ['val', 'valid', 'validation'])
def test_apply_data_root__class_folders(tmp_path, val):
    make_folders(tmp_path, splits=('train', val))
    cfg = class_config()
    told = apply_data_root(cfg, tmp_path)
    assert cfg.train_dataloader.dataset.data_root == str(tmp_path / 'train')
    assert cfg.val_dataloader.dataset.data_root == cfg.test_dataloader.dataset.data_root == str(tmp_path / val)
    assert cfg.model.num_classes == 3
    assert '3 classes: blue, green, red' in told


def test_apply_data_root__testing_class_folders_needs_no_training_part(tmp_path):
    make_folders(tmp_path)
    shutil.rmtree(tmp_path / 'train')
    cfg = class_config()
    apply_data_root(cfg, tmp_path, need=('val',))
    assert cfg.test_dataloader.dataset.data_root == str(tmp_path / 'val')
    with pytest.raises(ValueError, match=r'has no train part\. Known layouts:\n  classes:  train/CLASS/'):
        apply_data_root(cfg, tmp_path)


def test_apply_data_root__class_folders_that_cannot_be_used(tmp_path):
    make_folders(tmp_path)
    (tmp_path / 'val/white').mkdir()
    with pytest.raises(ValueError, match=r'1 of 4 class folders in .*val hold no image: white'):
        apply_data_root(class_config(), tmp_path)
    shutil.copy(tmp_path / 'val/red/004.png', tmp_path / 'val/white')
    with pytest.raises(ValueError, match=r'list other classes.*blue, green, red, white against blue, green, red'):
        apply_data_root(class_config(), tmp_path)
    for name in ('blue', 'green', 'red', 'white'):
        shutil.copy(tmp_path / 'val' / name / '004.png', tmp_path / f'val/{name}.png')
        shutil.rmtree(tmp_path / 'val' / name)
    with pytest.raises(ValueError, match='val has no folder per class: move the images of class NAME to'):
        apply_data_root(class_config(), tmp_path)


def test_apply_data_root__class_folders_without_parts(tmp_path):
    make_folders(tmp_path)
    with pytest.raises(ValueError, match='has a layout that is not known'):
        apply_data_root(class_config(), tmp_path / 'train')


def test_apply_data_root__pretraining_leaves_validation_classes_unseen(tmp_path):
    make_folders(tmp_path)
    cfg = mae_config()
    apply_data_root(cfg, tmp_path)
    assert cfg.train_dataloader.dataset.data_root == [str(tmp_path / 'train')]
    shutil.rmtree(tmp_path / 'train')
    with pytest.raises(ValueError, match='holds only validation images'):
        apply_data_root(mae_config(), tmp_path)
