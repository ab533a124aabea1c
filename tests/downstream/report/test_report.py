"""The report's parts: what is read from runs, what is drawn, what the page holds."""

import base64
import json
import re

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from downstream.report import curves, page
from downstream.report.labels import NO_CLASS, CocoScenes, Instance, read_class_map
from downstream.report.overlays import ZOOM, class_colours, draw_classes, draw_instances


def log(folder, records):
    file = folder / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text(''.join(json.dumps(record) + '\n' for record in records))


def test_read_scalars__resumed_run_continues_the_first(tmp_path):
    log(tmp_path / '20250101_000000', [{'loss': 3.0, 'step': 10}, {'loss': 2.0, 'step': 20}])
    log(tmp_path / '20250101_000500', [{'loss': 2.5, 'step': 20}, {'loss': 1, 'step': 30}, {'mIoU': 7.5, 'step': 30}])
    assert curves.read_scalars(tmp_path) == {'loss': [(10, 3.0), (20, 2.5), (30, 1.0)], 'mIoU': [(30, 7.5)]}


def test_draw_curves__one_panel_each_and_colours_by_name():
    series = [(0, 3.0), (10, 1.0)]
    one = decode(curves.draw_curves([('left', {'a': series})]))
    two = decode(curves.draw_curves([('left', {'a': series}), ('right', {'b': series, 'a': series})]))
    assert two.shape == (one.shape[0], 2 * one.shape[1], 3)
    rust, blue = ((one == bgr(colour)).all(2).sum() for colour in curves.COLOURS[:2])
    assert rust > 100 and blue == 0
    halves = two[:, : one.shape[1]], two[:, one.shape[1] :]
    assert [(half == bgr(curves.COLOURS[1])).all(2).any() for half in halves] == [False, True]


def bgr(colour):
    return [int(colour[i : i + 2], 16) for i in (5, 3, 1)]


def decode(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def run_lengths(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {'size': encoded['size'], 'counts': encoded['counts'].decode()}


def test_coco_scenes__truth_and_confident_results_of_one_image(tmp_path):
    mask = np.zeros((6, 9), bool)
    mask[1:3, 2:7] = True
    row = {'category_id': 5, 'segmentation': run_lengths(mask)}
    content = {
        'images': [{'id': 1, 'file_name': 'a.jpg'}, {'id': 2, 'file_name': 'b.jpg'}],
        'categories': [{'id': 3, 'name': 'x'}, {'id': 5, 'name': 'y'}],
        'annotations': [{**row, 'image_id': 2}, {**row, 'image_id': 1, 'category_id': 3}],
    }
    (tmp_path / 'truth.json').write_text(json.dumps(content))
    found = [{**row, 'image_id': image, 'score': score} for image, score in ((2, 0.9), (2, 0.3), (2, 0.5), (1, 0.8))]
    (tmp_path / 'found.json').write_text(json.dumps(found))

    scenes = CocoScenes(tmp_path / 'truth.json')
    (truth,) = scenes.truth(2)
    assert (truth.name, truth.score) == ('y', None)
    np.testing.assert_array_equal(truth.mask, mask)
    assert [each.score for each in scenes.results(tmp_path / 'found.json', 2, 2)] == [0.5, 0.9]


def test_read_class_map__zero_is_no_class(tmp_path):
    cv2.imwrite(str(tmp_path / 'map.png'), np.array([[0, 1], [2, 150]], np.uint8))
    np.testing.assert_array_equal(read_class_map(tmp_path / 'map.png'), [[NO_CLASS, 0], [1, 149]])


def test_read_class_map__absent_or_coloured_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r'map\.png is no image of one channel'):
        read_class_map(tmp_path / 'map.png')
    cv2.imwrite(str(tmp_path / 'map.png'), np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match=r'map\.png is no image of one channel'):
        read_class_map(tmp_path / 'map.png')


def test_draw_classes__tints_labelled_pixels_only():
    image = np.full((4, 6, 3), 100, np.uint8)
    classes = np.full((4, 6), NO_CLASS, np.uint8)
    classes[:, :3] = 1
    drawn = draw_classes(image, classes, [(0, 0, 0), (200, 40, 0)])
    assert drawn.shape == (4 * ZOOM, 6 * ZOOM, 3)
    assert (drawn[:, : 3 * ZOOM] == (165, 61, 35)).all()
    assert (drawn[:, 3 * ZOOM :] == 100).all()


def test_draw_instances__marks_its_region_and_leaves_the_rest():
    image = np.full((60, 80, 3), 100, np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[30:50, 20:40] = True
    drawn = draw_instances(image, [Instance('ball', mask, 0.9)], {'ball': (0, 0, 200)})
    changed = (drawn != 100).any(2)
    assert changed[30 * ZOOM : 50 * ZOOM, 20 * ZOOM : 40 * ZOOM].all()
    assert tuple(drawn[40 * ZOOM, 30 * ZOOM]) == (50, 50, 150)
    assert not changed[: 20 * ZOOM].any() and not changed[:, : 18 * ZOOM].any()
    assert not changed[50 * ZOOM + 3 :].any()


def test_draw_instances__an_empty_mask_draws_nothing():
    image = np.full((8, 8, 3), 100, np.uint8)
    drawn = draw_instances(image, [Instance('ball', np.zeros((8, 8), bool), 0.9)], {'ball': (0, 0, 200)})
    assert (drawn == 100).all()


def test_class_colours__differ():
    colours = class_colours([str(i) for i in range(11)])
    assert len(set(colours.values())) == 11


def test_page__is_self_contained_and_escapes_text():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    png = cv2.imencode('.png', pixels)[1].tobytes()
    body = page.table(['<a>', 'b'], [['1', '2'], ['3', '4']]) + page.picture(png, 'png', 'x') + page.listing(['a < b'])
    html = page.page('T & U', 'sub', [page.section('S', 'text', body)])
    assert '<h1>T &amp; U</h1>' in html and '<th>&lt;a&gt;</th>' in html and '<pre>a &lt; b</pre>' in html
    assert not re.findall(r'(?:src|href)="(?!data:)', html) and 'http' not in html
    content = re.search(r'src="data:image/png;base64,([^"]+)"', html).group(1)
    assert base64.b64decode(content) == png
    assert html.count('class="best"') == 1


def test_grid__cells_follow_their_titles():
    html = page.grid(['p', 'q'], [['<i>1</i>', '<i>2</i>'], ['<i>3</i>', '<i>4</i>']])
    assert 'repeat(2, 1fr)' in html
    assert re.findall(r'<(?:div|i)>(\w)<', html) == ['p', 'q', '1', '2', '3', '4']
