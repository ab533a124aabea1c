"""Annotation files as tools write them: corrected for training and evaluation alike, or refused with what is wrong."""

import json
import math
import re
import unicodedata

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from pycocotools import mask as coco_mask

from backbones.data.coco.layout import find_coco
from backbones.data.pointing.root import apply_data_root
from tests.conftest import ROOT
from tests.datasets import HEIGHT, WIDTH, make_coco
from tests.perfect import evaluate_truth


def config(tmp_path):
    cfg = Config.fromfile(ROOT / 'det_configs/mask_rcnn_vit_tiny.py')
    cfg.work_dir = str(tmp_path / 'work')
    return cfg


def edited(tmp_path, edit, parts=('train', 'val')):
    """A data set whose annotation files went through ``edit``."""
    root = make_coco(tmp_path / 'data')
    for part in parts:
        file = root / f'annotations/instances_{part}.json'
        content = json.loads(file.read_text())
        edit(content)
        file.write_text(json.dumps(content))
    return root


def each(key, change):
    """An edit that changes every annotation with its number."""

    def edit(content):
        for index, entry in enumerate(content[key]):
            change(index, entry)

    return edit


def first(key, **values):
    def edit(content):
        content[key][0].update(values)

    return edit


def run_lengths(entry):
    """Uncompressed run lengths of an annotation's box."""
    x, y, w, h = entry['bbox']
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y : y + h, x : x + w] = 1
    flat = mask.flatten(order='F')
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
    counts = np.diff(np.concatenate([[0], edges, [flat.size]]))
    return dict(size=[HEIGHT, WIDTH], counts=[int(count) for count in counts])


def compressed(entry):
    rle = coco_mask.frPyObjects(run_lengths(entry), HEIGHT, WIDTH)
    return dict(size=[HEIGHT, WIDTH], counts=rle['counts'].decode())


def two_roots(content):
    content['categories'].insert(0, dict(id=0, name='red', supercategory='none'))
    for category in content['categories'][1:]:
        category['supercategory'] = 'red'


def as_text(content):
    for image in content['images']:
        image['id'] = f'{image["id"]:04}'
    for category in content['categories']:
        category['id'] = str(category['id'])
    for entry in content['annotations']:
        entry.update(image_id=f'{entry["image_id"]:04}', category_id=str(entry['category_id']), id=str(entry['id']))


def words_as_ids(content):
    for image in content['images']:
        image['id'] = f'photo {image["id"]}'
    for entry in content['annotations']:
        entry['image_id'] = f'photo {entry["image_id"]}'


CORRECTED = {
    'ids from 0': (each('annotations', lambda i, e: e.update(id=i)), '1 have an id below 1: all numbered anew'),
    'ids repeat': (each('annotations', lambda i, e: e.update(id=i % 3 + 1)), 'have the id of another'),
    'no ids': (each('annotations', lambda i, e: e.pop('id')), 'have no id'),
    'no area': (each('annotations', lambda i, e: e.pop('area')), 'have no area above 0: computed'),
    'area 0': (each('annotations', lambda i, e: e.update(area=0)), 'have no area above 0: computed'),
    'area is text': (first('annotations', area='12'), '1 of .* have no area above 0: computed'),
    'no iscrowd': (each('annotations', lambda i, e: e.pop('iscrowd')), 'have no iscrowd: 0'),
    'no bbox': (each('annotations', lambda i, e: e.pop('bbox')), 'have no bbox: taken from segmentation'),
    'no size': (each('images', lambda i, e: (e.pop('width'), e.pop('height'))), 'taken from the image files'),
    'size 0': (each('images', lambda i, e: e.update(width=0, height=0)), 'taken from the image files'),
    'ids are text': (as_text, 'images have an id that is no whole number'),
    'ids are words': (words_as_ids, 'images have an id that is no whole number'),
    'windows path': (
        each('images', lambda i, e: e.update(file_name=f'images\\{e["file_name"]}')),
        r'are found under another name: images\\\d+.jpg as ',
    ),
    'a path of elsewhere': (
        each('images', lambda i, e: e.update(file_name=f'/home/me/upload/{e["file_name"]}')),
        'are found under another name',
    ),
    'case of the suffix': (
        each('images', lambda i, e: e.update(file_name=e['file_name'].upper())),
        'are found under another name',
    ),
    'run lengths in a list': (
        each('annotations', lambda i, e: e.update(segmentation=[compressed(e)])),
        '6 of 6 .* put right: run lengths are taken out of a list',
    ),
    'an outline without an area': (
        lambda c: c['annotations'][1].update(segmentation=[[9, 9, 12, 12, 20, 20, 11, 11]]),
        '1 of .* have a segmentation without an area: their box takes its place',
    ),
    'one point': (
        lambda c: c['annotations'][1].update(segmentation=[[9, 9] * 4]),
        '1 of .* have a segmentation without an area: their box takes its place',
    ),
    'iscrowd is text': (each('annotations', lambda i, e: e.update(iscrowd='0')), 'corrected annotations'),
    'roboflow': (two_roots, "1 of 4 categories is no class: 'red' heads the others"),
    'two points': (
        lambda c: c['annotations'][1].update(
            segmentation=[[*c['annotations'][1]['bbox'][:2], *c['annotations'][1]['bbox'][:2]]]
        ),
        '1 of .* have a segmentation without an area: their box takes its place',
    ),
    'stray point': (
        lambda c: c['annotations'][1]['segmentation'].insert(0, [5, 5]),
        '1 of .* have a segmentation that is put right: pieces of fewer than three points',
    ),
    'odd coordinates': (
        lambda c: c['annotations'][1]['segmentation'].insert(0, [5, 5, 9, 9, 5, 9, 1]),
        '1 of .* have a segmentation that is put right: pieces of fewer than three points',
    ),
    'flat polygon': (
        each('annotations', lambda i, e: e.update(segmentation=e['segmentation'][0])),
        '6 of 6 .* put right: a single piece is put into a list',
    ),
    'empty box': (
        lambda c: c['annotations'].append(dict(c['annotations'][0], id=999, bbox=[5, 5, 0, 3])),
        '1 of .* are left out: 1 boxes without width or height',
    ),
    'beside the image': (
        lambda c: c['annotations'].append(dict(c['annotations'][0], id=999, bbox=[WIDTH, 5, 4, 3])),
        '1 of .* are left out: 1 boxes beside their image',
    ),
    'sizes too small': (
        each('images', lambda i, e: e.update(width=30, height=30)),
        '2 of 2 images have another size: 004.jpg is 64x48 as seen, the json says 30x30; .* boxes fit only the size',
    ),
}


@pytest.mark.parametrize('case', sorted(CORRECTED))
def test_apply_data_root__corrects_what_can_be_computed(tmp_path, case):
    edit, note = CORRECTED[case]
    cfg = config(tmp_path)
    report = '\n'.join(apply_data_root(cfg, edited(tmp_path, edit)))
    assert re.search(f'val: .*{note}', report), report
    figures = evaluate_truth(cfg)
    assert figures['coco/bbox_mAP'] == figures['coco/segm_mAP'] == 1.0
    assert (
        cfg.val_evaluator.ann_file == cfg.val_dataloader.dataset.ann_file == str(tmp_path / 'work/annotations/val.json')
    )
    assert len(json.loads((tmp_path / 'work/annotations/val.json').read_text())['annotations']) == 6
    assert trained_on(cfg) == 12


def trained_on(cfg):
    """Objects that the training set of mmdet gives out."""
    import mmdet.datasets  # noqa: F401
    from mmdet.registry import DATASETS

    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': []})
        dataset.full_init()
    return sum(
        not instance['ignore_flag'] for i in range(len(dataset)) for instance in dataset.get_data_info(i)['instances']
    )


REFUSED = {
    'unknown image': (first('annotations', image_id=99), r'1 of \d+ annotations have an image_id that is not .*: 99'),
    'unknown category': (first('annotations', category_id=99), r'1 of \d+ annotations have a category_id .*: 99'),
    'off by one': (
        lambda c: (
            [e.update(id=i + 1) for i, e in enumerate(c['categories'])],
            [e.update(category_id=i % 3) for i, e in enumerate(c['annotations'])],
        ),
        'They count from 0, the list from 1: off by one',
    ),
    'three numbers': (
        first('annotations', bbox=[1, 2, 3]),
        r'four finite numbers x, y, width, height: id 1 has \[1, 2',
    ),
    'text': (first('annotations', bbox=['1', '2', '3', '4']), 'four finite numbers'),
    'not finite': (first('annotations', bbox=[1, 2, math.nan, 4]), 'four finite numbers'),
    'endless': (first('annotations', bbox=[1, 2, math.inf, 4]), 'four finite numbers'),
    'no box, no outline': (
        first('annotations', bbox=None, segmentation=[]),
        'have neither bbox nor segmentation: id 1',
    ),
    'shares': (
        each('annotations', lambda i, e: e.update(bbox=[v / 64 for v in e['bbox']])),
        'lie between 0 and 1 .*shares of the image',
    ),
    'corners': (
        each('annotations', lambda i, e: e.update(bbox=[*e['segmentation'][0][:2], *e['segmentation'][0][4:6]])),
        'name the corners x1, y1, x2, y2 of their segmentation',
    ),
    'some without outline': (
        first('annotations', segmentation=[]),
        '1 of .* have no segmentation: .*model.roi_head.mask_head=None',
    ),
    'outline not finite': (first('annotations', segmentation=[[1, 1, math.nan, 5, 9, 9]]), 'are not finite'),
    'outline far away': (first('annotations', segmentation=[[0, 0, 1e9, 0, 1e9, 1e9]]), 'reaches far beyond the image'),
    'outline of text': (first('annotations', segmentation=[['a', 'b', 'c', 'd', 'e', 'f']]), 'are no numbers'),
    'run lengths of another size': (
        lambda c: c['annotations'][0].update(segmentation=dict(size=[9, 9], counts=[81])),
        r'run lengths of size \[9, 9\] in an image of \[48, 64\]',
    ),
    'run lengths too short': (
        lambda c: c['annotations'][0].update(segmentation=dict(size=[HEIGHT, WIDTH], counts=[5, 5])),
        'do not fill the image',
    ),
    'run lengths cut': (
        lambda c: c['annotations'][0].update(
            segmentation=dict(size=[HEIGHT, WIDTH], counts=compressed(c['annotations'][0])['counts'][:-2])
        ),
        'do not fill the image',
    ),
    'outlines in shares': (
        each('annotations', lambda i, e: e.update(segmentation=[[v / WIDTH for v in e['segmentation'][0]]])),
        'segmentation elsewhere than their bbox: bbox',
    ),
    'x and y exchanged': (
        each('annotations', lambda i, e: e.update(segmentation=[[v + 25 for v in e['segmentation'][0]]])),
        r'[56] of 6 annotations compared have a segmentation elsewhere than their bbox',
    ),
    'boxes by their centre': (
        each('annotations', lambda i, e: e.update(bbox=[e['bbox'][0] + 7, e['bbox'][1] + 9, *e['bbox'][2:]])),
        'segmentation elsewhere than their bbox',
    ),
    'a list as an id': (first('annotations', category_id=[1], image_id={}), r'1 of \d+ annotations have a category_id'),
    'images with lists as ids': (first('images', id=[1]), '1 of 2 images have no id'),
    'classes with lists as ids': (first('categories', id=[1]), '1 of 3 categories have no id'),
    'iscrowd': (first('annotations', iscrowd='no'), 'iscrowd that is neither 0 nor 1: no'),
    'images share an id': (each('images', lambda i, e: e.update(id=5)), 'images share their id with another: 5'),
    'image listed twice': (
        lambda c: c['images'].append(dict(c['images'][0], id=77)),
        'images are listed more than once: 00',
    ),
    'image without id': (lambda c: c['images'][0].pop('id'), 'images have no id'),
    'image without name': (lambda c: c['images'][0].pop('file_name'), 'images have no file_name'),
    'images missing': (
        each('images', lambda i, e: e.update(file_name=f'lost {i}.jpg')),
        '2 of 2 images are not in .*val: lost 0.jpg, lost 1.jpg',
    ),
    'another size': (
        each('images', lambda i, e: e.update(width=128, height=96)),
        'is 64x48 as seen, the json says 128x96',
    ),
}


@pytest.mark.parametrize('case', sorted(REFUSED))
def test_apply_data_root__refuses_what_cannot_be_computed(tmp_path, case):
    edit, message = REFUSED[case]
    root = edited(tmp_path, edit, parts=('val',))
    with pytest.raises(ValueError, match=f'instances_val.json: .*{message}'):
        apply_data_root(config(tmp_path), root)
    assert not (tmp_path / 'work').exists()


def test_apply_data_root__says_all_faults_at_once(tmp_path):
    def edit(content):
        content['annotations'][0]['category_id'] = 99
        content['annotations'][4]['bbox'] = [1]
        content['images'][0]['file_name'] = 'lost.jpg'

    with pytest.raises(ValueError, match='6 faults in the annotations') as caught:
        apply_data_root(config(tmp_path), edited(tmp_path, edit))
    for part in ('train', 'val'):
        for what in ('lost.jpg', 'not among the categories: 99', 'id 5 has'):
            assert any(f'_{part}.json' in line and what in line for line in str(caught.value).splitlines())


@pytest.mark.parametrize('text', ['', '[1]', '{"images": {}, "categories": []}', '[' * 100_000, '{"images": [1]}'])
def test_apply_data_root__files_that_are_no_annotations(tmp_path, text):
    root = make_coco(tmp_path / 'data')
    (root / 'annotations/instances_val.json').write_text(text)
    with pytest.raises(ValueError, match=r'instances_val.json is no COCO annotation file: '):
        apply_data_root(config(tmp_path), root)


def test_apply_data_root__byte_order_mark(tmp_path):
    root = make_coco(tmp_path / 'data')
    for file in (root / 'annotations').iterdir():
        file.write_bytes(b'\xef\xbb\xbf' + file.read_bytes())
    cfg = config(tmp_path)
    apply_data_root(cfg, root)
    assert evaluate_truth(cfg)['coco/bbox_mAP'] == 1.0
    assert trained_on(cfg) == 12


def test_apply_data_root__files_of_windows_and_macos(tmp_path):
    """UTF-16, suffixes of another case on disk, accents as letters of their own: read, and said."""
    root = make_coco(tmp_path / 'data')
    for part in ('train', 'val'):
        file = root / f'annotations/instances_{part}.json'
        content = json.loads(file.read_text())
        for image in content['images']:
            name = image['file_name']
            image['file_name'] = unicodedata.normalize('NFC', f'ü {name}')
            (root / 'images' / part / name).rename(
                root / 'images' / part / unicodedata.normalize('NFD', f'ü {name.upper()}')
            )
        file.write_bytes(json.dumps(content).encode('utf-16'))
    cfg = config(tmp_path)
    report = '\n'.join(apply_data_root(cfg, root))
    assert 'val: the json is written in utf-16: read as that' in report
    assert 'val: 2 of 2 images are found under another name' in report
    assert evaluate_truth(cfg)['coco/bbox_mAP'] == 1.0
    assert trained_on(cfg) == 12


@pytest.mark.parametrize('outline', [[[9, 9, 9, 9, 9, 9]], [[1, 2]], [], None])
def test_apply_data_root__testing_leaves_out_the_masks_that_training_did(tmp_path, outline):
    root = edited(tmp_path, each('annotations', lambda i, e: e.update(segmentation=outline)))
    for need in (('train', 'val'), ('val',)):
        cfg = config(tmp_path)
        apply_data_root(cfg, root, need)
        assert cfg.model.roi_head.mask_head is None


def test_apply_data_root__nothing_left_says_why(tmp_path):
    turned = each('annotations', lambda i, e: e.update(bbox=[e['bbox'][0], e['bbox'][1], -5, 5]))
    with pytest.raises(ValueError, match=r'no annotation to train on: .*12 boxes with a width or height below 0'):
        apply_data_root(config(tmp_path), edited(tmp_path, turned))


@pytest.mark.parametrize('write', [run_lengths, compressed])
def test_apply_data_root__run_lengths_are_left_as_they_are(tmp_path, write):
    cfg = config(tmp_path)
    apply_data_root(cfg, edited(tmp_path, each('annotations', lambda i, e: e.update(segmentation=write(e)))))
    assert cfg.val_evaluator.ann_file == str(tmp_path / 'data/annotations/instances_val.json')
    assert evaluate_truth(cfg)['coco/segm_mAP'] == 1.0


def test_apply_data_root__photos_turned_by_exif(tmp_path):
    """Sizes of the stored pixels, boxes as seen: the boxes reach where only the image as seen does."""
    root = make_coco(tmp_path / 'data')
    for part in ('train', 'val'):
        file = root / f'annotations/instances_{part}.json'
        content = json.loads(file.read_text())
        for image in content['images']:
            path = root / 'images' / part / image['file_name']
            turned = cv2.rotate(cv2.imread(str(path)), cv2.ROTATE_90_COUNTERCLOCKWISE)
            write_turned(path, turned)
            image['height'], image['width'] = turned.shape[:2]
        file.write_text(json.dumps(content))
    cfg = config(tmp_path)
    report = '\n'.join(apply_data_root(cfg, root))
    assert 'val: 2 of 2 images have another size: 004.jpg is 64x48 as seen, the json says 48x64 (turned' in report
    assert evaluate_truth(cfg)['coco/segm_mAP'] == 1.0
    assert trained_on(cfg) == 12


def write_turned(path, pixels):
    """A JPEG that is shown turned by a quarter (EXIF orientation 6)."""
    data = cv2.imencode('.jpg', pixels)[1].tobytes()
    entry = (0x112).to_bytes(2, 'little') + (3).to_bytes(2, 'little') + (1).to_bytes(4, 'little') + b'\x06\0\0\0'
    exif = b'Exif\0\0' + b'II*\0' + (8).to_bytes(4, 'little') + (1).to_bytes(2, 'little') + entry + b'\0' * 4
    path.write_bytes(data[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + data[2:])


def test_apply_data_root__sizes_that_nothing_proves_are_refused(tmp_path):
    """Boxes that fit into both: the photos may be turned or not."""

    def edit(content):
        for image in content['images']:
            image['height'], image['width'] = WIDTH, HEIGHT
        for entry in content['annotations']:
            entry.update(bbox=[2, 2, 20, 20], segmentation=[[2, 2, 22, 2, 22, 22]])

    with pytest.raises(ValueError, match=r'is 64x48 as seen, the json says 48x64 .turned by EXIF, or width and height'):
        apply_data_root(config(tmp_path), edited(tmp_path, edit))


@pytest.mark.parametrize('damage', [lambda data: data[:300], lambda data: b'', lambda data: b'<html>'])
def test_apply_data_root__broken_images_are_found_before_training(tmp_path, damage):
    root = make_coco(tmp_path / 'data')
    path = root / 'images/train/002.jpg'
    path.write_bytes(damage(path.read_bytes()))
    (root / 'images/val/005.jpg').unlink()
    with pytest.raises(ValueError, match='2 faults') as caught:
        apply_data_root(config(tmp_path), root)
    assert '1 of 4 images cannot be decoded (empty, cut off or no image): 002.jpg' in str(caught.value)
    assert '1 of 2 images are not in' in str(caught.value)


def test_find_coco__roots_with_annotations_stay_classes(tmp_path):
    def edit(content):
        two_roots(content)
        content['categories'][0]['name'] = 'colours'
        content['annotations'][0]['category_id'] = 0
        for category in content['categories'][1:]:
            category['supercategory'] = 'colours'

    root = edited(tmp_path, edit, parts=('train',))
    parts = find_coco(edited(tmp_path, edit, parts=('val',)), need=('val',))
    assert root == tmp_path / 'data'
    assert parts['val'].classes == ('colours', 'red', 'green', 'blue')
