"""Drawn scenes: deterministic, labels consistent between layouts, layouts our tools read."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from backbones.data.coco.layout import find_coco
from backbones.data.label_maps.layout import find_ade
from downstream.cli.shapes import main
from downstream.shapes.outlines import THINGS
from downstream.shapes.scene import MOST_HIDDEN, THING_NAMES, draw_scene

SMALL = ('--images', '3', '--unlabelled', '4', '--size', '64')


@pytest.fixture(scope='module')
def shapes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('shapes')
    main([str(root), *SMALL])
    return root


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob('*') if path.is_file()}


def annotations(root, split):
    return json.loads((root / 'coco' / 'annotations' / f'instances_{split}.json').read_text())


def test_make_shapes__same_seed_same_bytes(shapes, tmp_path):
    main([str(tmp_path), *SMALL])
    assert contents(tmp_path) == contents(shapes)


def test_make_shapes__seed_changes_every_image(shapes, tmp_path):
    main([str(tmp_path), *SMALL, '--seed', '1'])
    before, after = contents(shapes), contents(tmp_path)
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before if name.endswith('.jpg'))


def test_make_shapes__more_images_leave_the_first_as_they_are(shapes, tmp_path):
    main([str(tmp_path), '--images', '5', '--unlabelled', '6', '--size', '64'])
    before, after = contents(shapes), contents(tmp_path)
    images = [name for name in before if name.endswith(('.jpg', '.png'))]
    assert len(images) == 6 + 12 + 4
    assert all(before[name] == after[name] for name in images)
    assert sum(name.startswith('unlabelled/') for name in after) == 6
    assert len(annotations(tmp_path, 'train')['images']) == len(annotations(tmp_path, 'val')['images']) == 5


def test_make_shapes__size_is_that_of_all_images(tmp_path):
    main([str(tmp_path), '--images', '1', '--unlabelled', '1', '--size', '80'])
    for path in (*tmp_path.rglob('*.jpg'), *tmp_path.rglob('*.png')):
        assert cv2.imread(str(path)).shape == (80, 80, 3)
    assert [(i['height'], i['width']) for i in annotations(tmp_path, 'val')['images']] == [(80, 80)]


def test_make_shapes__unlabelled_scenes_are_others(shapes):
    labelled = {path.read_bytes() for path in (shapes / 'coco' / 'images').rglob('*.jpg')}
    assert len(labelled) == 6
    assert not labelled & {path.read_bytes() for path in (shapes / 'unlabelled').iterdir()}


def test_make_shapes__both_layouts_hold_the_same_images(shapes):
    for coco, ade in (('train', 'training'), ('val', 'validation')):
        for path in (shapes / 'coco' / 'images' / coco).iterdir():
            assert path.read_bytes() == (shapes / 'ade' / 'images' / ade / path.name).read_bytes()


@pytest.mark.parametrize('split', ['train', 'val'])
def test_make_shapes__coco_masks_are_the_ade_pixels(shapes, split):
    content = annotations(shapes, split)
    ade = shapes / 'ade' / 'annotations' / {'train': 'training', 'val': 'validation'}[split]
    names = (shapes / 'ade' / 'classes.txt').read_text().split()
    labels = {category['id']: 1 + names.index(category['name']) for category in content['categories']}
    for image in content['images']:
        own = [row for row in content['annotations'] if row['image_id'] == image['id']]
        painted = np.zeros((64, 64), np.uint8)
        for row in own:
            mask = coco_mask.decode(row['segmentation']).astype(bool)
            assert not painted[mask].any(), 'visible parts overlap'
            painted[mask] = labels[row['category_id']]
        truth = cv2.imread(str(ade / image['file_name'].replace('.jpg', '.png')), cv2.IMREAD_UNCHANGED)
        assert truth.min() >= 1 and truth.max() <= len(names)
        np.testing.assert_array_equal(painted, np.where(truth <= len(THING_NAMES), truth, 0))


def test_make_shapes__boxes_and_areas_are_those_of_the_masks(shapes):
    rows = annotations(shapes, 'train')['annotations']
    assert [row['id'] for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        y, x = np.nonzero(coco_mask.decode(row['segmentation']))
        assert row['area'] == len(x)
        assert row['bbox'] == [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]


def test_make_shapes__layouts_are_known_to_the_tools(shapes):
    coco, ade = find_coco(shapes / 'coco'), find_ade(shapes / 'ade')
    assert set(coco) == set(ade) == {'train', 'val'}
    assert coco['train'].classes == ade['train'].classes[:4] == ('ball', 'tent', 'ring', 'cross')
    assert ade['val'].classes[4:] == ('sky', 'wall', 'grass', 'water', 'sand')


def test_draw_scene__things_stay_in_sight_and_all_classes_occur():
    seen = set()
    for index in range(30):
        scene = draw_scene(96, np.random.default_rng(index))
        seen |= {THING_NAMES[kind] for kind, _ in scene.things}
        for owner, (kind, area) in enumerate(scene.things):
            visible = scene.owners == owner
            assert visible.sum() >= MOST_HIDDEN * area
            assert (scene.kinds[visible] == kind).all()
        assert set(np.unique(scene.kinds[scene.owners < 0])) <= set(range(4, 9))
    assert seen == set(THINGS)


def test_make_shapes__too_small_a_size_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path), '--size', '16'])
    assert '--size 16 is too small: use 32 or more' in capsys.readouterr().err


def test_make_shapes__no_images_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path), '--images', '0'])
    assert '0 is no whole number above zero' in capsys.readouterr().err
