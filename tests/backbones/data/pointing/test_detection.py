"""What annotations decide in a detection config: masks or boxes alone, how many objects, what is trained on."""

import json

import pytest
import torch
from mmengine.config import Config

from backbones.data.pointing.boxes_only import learns_masks
from backbones.data.pointing.root import apply_data_root
from tests.conftest import ROOT
from tests.datasets import make_coco
from tests.perfect import evaluate_truth


def config(tmp_path, name='mask_rcnn_vit_tiny'):
    cfg = Config.fromfile(ROOT / f'det_configs/{name}.py')
    cfg.work_dir = str(tmp_path / 'work')
    return cfg


def rewrite(root, part, edit):
    file = root / f'annotations/instances_{part}.json'
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def boxes_alone(content):
    for entry in content['annotations']:
        entry['segmentation'] = []


def transforms(cfg, loader, name):
    return [step for step in cfg[loader].dataset.pipeline if step.type == name]


LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def is_for_boxes(cfg):
    heads = cfg.model.roi_head
    loads = [step.get('with_mask') for loader in LOADERS for step in transforms(cfg, loader, 'LoadAnnotations')]
    metrics = [cfg.val_evaluator.metric, cfg.test_evaluator.metric]
    return heads.mask_head is heads.mask_roi_extractor is None and not any(loads) and metrics == ['bbox', 'bbox']


@pytest.mark.parametrize('outline', [[], None, 'absent', [[]], [[1, 2]]])
def test_apply_data_root__boxes_alone(tmp_path, outline):
    root = make_coco(tmp_path / 'data')

    def edit(content):
        for entry in content['annotations']:
            entry['segmentation'] = outline
            if outline == 'absent':
                del entry['segmentation']

    for part in ('train', 'val'):
        rewrite(root, part, edit)
    cfg = config(tmp_path)
    told = apply_data_root(cfg, root)
    assert is_for_boxes(cfg)
    assert 'boxes alone: the mask head is left out (the annotations have no segmentation)' in told
    assert evaluate_truth(cfg)['coco/bbox_mAP'] == 1.0


def test_apply_data_root__with_outlines_masks_stay(tmp_path):
    cfg = config(tmp_path)
    apply_data_root(cfg, make_coco(tmp_path / 'data'))
    assert learns_masks(cfg) and cfg.val_evaluator.metric == ['bbox', 'segm']


def test_apply_data_root__boxes_alone_on_request(tmp_path):
    """The way out that is named where some annotations have no outline."""
    root = make_coco(tmp_path / 'data')
    rewrite(root, 'train', lambda content: content['annotations'][0].pop('segmentation'))
    with pytest.raises(ValueError, match=r'model\.roi_head\.mask_head=None'):
        apply_data_root(config(tmp_path), root)
    cfg = config(tmp_path)
    cfg.merge_from_dict({'model.roi_head.mask_head': None})
    apply_data_root(cfg, root)
    cfg.model.roi_head.mask_roi_extractor = None
    assert is_for_boxes(cfg)


def test_apply_data_root__validation_without_outlines(tmp_path):
    root = make_coco(tmp_path / 'data')
    rewrite(root, 'val', boxes_alone)
    cfg = config(tmp_path)
    told = apply_data_root(cfg, root)
    assert cfg.model.roi_head.mask_head.num_classes == 3
    assert transforms(cfg, 'train_dataloader', 'LoadAnnotations')[0].with_mask
    assert not transforms(cfg, 'val_dataloader', 'LoadAnnotations')[0].with_mask
    assert cfg.val_evaluator.metric == 'bbox' and 'val: no segmentation' in told


def test_apply_data_root__models_that_need_outlines(tmp_path):
    root = make_coco(tmp_path / 'data')
    for part in ('train', 'val'):
        rewrite(root, part, boxes_alone)
    cfg = config(tmp_path)
    cfg.model = dict(type='CondInst', bbox_head=dict(num_classes=80), test_cfg=dict(max_per_img=100))
    with pytest.raises(ValueError, match='CondInst learns outlines and the annotations have none'):
        apply_data_root(cfg, root)


def test_boxes_alone__a_step_and_a_prediction(tmp_path):
    """The model that is left trains and predicts boxes."""
    import mmdet.models  # noqa: F401
    from mmdet.registry import DATASETS, MODELS
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import DefaultScope

    root = make_coco(tmp_path / 'data')
    for part in ('train', 'val'):
        rewrite(root, part, boxes_alone)
    cfg = config(tmp_path)
    apply_data_root(cfg, root)
    for step in transforms(cfg, 'train_dataloader', 'RandomResize'):
        step.scale = (64, 64)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
        train, val = (DATASETS.build(cfg[f'{part}_dataloader'].dataset)[0] for part in ('train', 'val'))
        losses = model(**model.data_preprocessor(pseudo_collate([train]), True), mode='loss')
        (found,) = model.eval()(**model.data_preprocessor(pseudo_collate([val])), mode='predict')
    assert losses['loss_bbox'].isfinite() and not any('mask' in name for name in losses)
    assert 'masks' not in found.pred_instances and found.pred_instances.bboxes.dtype == torch.float32


def crowded(count):
    def edit(content):
        entry = content['annotations'][0]
        for number in range(count - 3):
            content['annotations'].append({**entry, 'id': 1000 + number})

    return edit


@pytest.mark.parametrize('count, limit', [(100, 100), (101, 200), (269, 500), (700, 1100)])
def test_apply_data_root__detections_as_many_as_objects(tmp_path, count, limit):
    root = make_coco(tmp_path / 'data')
    rewrite(root, 'train', crowded(count))
    cfg = config(tmp_path)
    told = apply_data_root(cfg, root)
    assert cfg.model.test_cfg.rcnn.max_per_img == limit
    said = f'model.test_cfg.rcnn.max_per_img = {limit} (an image holds {count} objects)'
    assert (said in told) == (limit > 100)
    # Two proposals for each object at least.
    assert cfg.model.test_cfg.rpn.max_per_img == (2200 if count == 700 else 1000)


def test_apply_data_root__evaluation_counts_as_many(tmp_path):
    root = make_coco(tmp_path / 'data')
    rewrite(root, 'val', crowded(1001))
    cfg = config(tmp_path)
    apply_data_root(cfg, root)
    assert list(cfg.val_evaluator.proposal_nums) == [100, 300, 1600]


def test_apply_data_root__says_what_is_not_trained_on(tmp_path):
    root = make_coco(tmp_path / 'data')

    def edit(content):
        for entry in content['annotations'][:3]:
            entry['iscrowd'] = 1
        content['annotations'][3]['bbox'][2] = 0.5
        content['annotations'][4]['ignore'] = True

    rewrite(root, 'train', edit)
    told = apply_data_root(config(tmp_path), root)
    annotations = '7 of 12 annotations are trained on; not 3 crowds (iscrowd=1), 1 boxes thinner than a pixel, 1 marked'
    images = '3 of 4 images are trained on; not 1 without an annotation to train on (filter_cfg.filter_empty_gt)'
    assert f"train: {annotations} 'ignore'" in told
    assert f'train: {images}' in told


NOTHING = {
    'no annotation': (lambda c: c.update(annotations=[]), 'no annotation to train on: there are none'),
    'no list of annotations': (lambda c: c.pop('annotations'), 'no annotation to train on: there are none'),
    'only crowds': (
        lambda c: [entry.update(iscrowd=1) for entry in c['annotations']],
        r'all 12 are not trained on: 12 crowds \(iscrowd=1\)',
    ),
}


@pytest.mark.parametrize('case', sorted(NOTHING))
def test_apply_data_root__nothing_to_train_on(tmp_path, case):
    edit, message = NOTHING[case]
    root = make_coco(tmp_path / 'data')
    rewrite(root, 'train', edit)
    with pytest.raises(ValueError, match=f'instances_train.json: .*{message}'):
        apply_data_root(config(tmp_path), root)


def test_apply_data_root__images_below_the_least_size(tmp_path):
    root = make_coco(tmp_path / 'data')
    cfg = config(tmp_path)
    cfg.train_dataloader.dataset.filter_cfg.min_size = 50
    with pytest.raises(ValueError, match=r'all 4 are left out, 4 below 50 px \(train_dataloader.dataset.filter_cfg'):
        apply_data_root(cfg, root)


@pytest.mark.parametrize('edit', [lambda c: c.update(annotations=[]), lambda c: c.pop('annotations')])
def test_apply_data_root__nothing_to_evaluate_against(tmp_path, edit):
    root = make_coco(tmp_path / 'data')
    rewrite(root, 'val', edit)
    told = apply_data_root(config(tmp_path), root)
    assert 'val: warning: it has no annotation: the figures of an evaluation mean nothing (-1 or 0)' in told


def test_apply_data_root__testing_asks_nothing_of_the_training_part(tmp_path):
    root = make_coco(tmp_path / 'data')
    rewrite(root, 'train', lambda content: content.update(annotations=[]))
    (root / 'images/train/000.jpg').unlink()
    cfg = config(tmp_path)
    told = apply_data_root(cfg, root, need=('val',))
    assert not any(line.startswith('train') for line in told)
    assert evaluate_truth(cfg)['coco/segm_mAP'] == 1.0


@pytest.mark.parametrize('file', ['annotations/instances_default.json', '_annotations.coco.json'])
def test_apply_data_root__one_file_for_all_images(tmp_path, file):
    root = make_coco(tmp_path / 'data')
    (root / 'annotations/instances_val.json').unlink()
    (root / 'annotations/instances_train.json').rename(root / file)
    with pytest.raises(ValueError, match='layout that is not known') as error:
        apply_data_root(config(tmp_path), root)
    assert 'has to be split into train and val first' in str(error.value)
