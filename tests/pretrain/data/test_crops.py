import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pretrain.data.crops import Box, Selection, cut, find_boxes, select, write_crops


def coco(root, boxes_by_part):
    """COCO layout with one image of 80 x 60 per part; boxes are (class id, x, y, w, h, crowd)."""
    categories = [{'id': 3, 'name': 'cat'}, {'id': 7, 'name': 'traffic/light'}]
    (root / 'annotations').mkdir(parents=True)
    for part, boxes in boxes_by_part.items():
        folder = root / 'images' / part
        folder.mkdir(parents=True)
        rows, columns = np.mgrid[:60, :80]
        cv2.imwrite(str(folder / 'a.png'), np.stack([rows, columns, rows * 0], axis=2).astype(np.uint8))
        annotations = [
            {'id': i, 'image_id': 5, 'category_id': c, 'bbox': box, 'iscrowd': crowd}
            for i, (c, *box, crowd) in enumerate(boxes)
        ]
        images = [{'id': 5, 'file_name': 'a.png', 'width': 80, 'height': 60}]
        content = {'images': images, 'categories': categories, 'annotations': annotations}
        (root / 'annotations' / f'instances_{part}.json').write_text(json.dumps(content))
    return root


def test_find_boxes__coco_without_crowds(tmp_path):
    boxes = [(3, 10.4, 5, 30, 20, 0), (7, 1, 2, 3, 4, 0), (3, 0, 0, 80, 60, 1)]
    found = find_boxes(coco(tmp_path, {'train': boxes, 'val': boxes[:1]}))
    image = tmp_path / 'images' / 'train' / 'a.png'
    assert found['train'] == [Box(image, 'cat', (10, 5, 30, 20)), Box(image, 'traffic/light', (1, 2, 3, 4))]
    assert [box.label for box in found['val']] == ['cat']


def test_find_boxes__coco_as_it_was_corrected(tmp_path):
    """Names of elsewhere, ids of text, UTF-16: what training reads is what is cut out."""
    coco(tmp_path, {part: [(3, 10, 5, 30, 20, 0)] for part in ('train', 'val')})
    file = tmp_path / 'annotations/instances_train.json'
    content = json.loads(file.read_text())
    content['images'][0].update(id='x', file_name='https://example.org/upload/A.PNG')
    content['annotations'][0].update(image_id='x', category_id='3')
    file.write_bytes(json.dumps(content).encode('utf-16'))
    assert find_boxes(tmp_path)['train'] == [Box(tmp_path / 'images/train/a.png', 'cat', (10, 5, 30, 20))]
    with pytest.raises(ValueError, match='--zero-is-class tells how to read masks'):
        find_boxes(tmp_path, zero_is_class=True)


def test_find_boxes__connected_pieces_of_masks(tmp_path):
    mask = np.zeros((20, 30), np.uint8)
    mask[2:6, 3:10] = 1
    mask[6:8, 10:12] = 1  # touches the first at a corner
    mask[12:15, 1:4] = 1
    mask[10:18, 20:28] = 2
    mask[0, 29] = 255
    for part in ('training', 'validation'):
        for kind, array in (('images', np.stack([mask] * 3, axis=2)), ('annotations', mask)):
            (tmp_path / kind / part).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / kind / part / 'a.png'), array)
    (tmp_path / 'classes.txt').write_text('car\ntree\n')
    found = find_boxes(tmp_path)['val']
    assert sorted((box.label, box.place) for box in found) == [
        ('car', (1, 12, 3, 3)),
        ('car', (3, 2, 9, 6)),
        ('tree', (20, 10, 8, 8)),
    ]
    assert found[0].image == tmp_path / 'images' / 'validation' / 'a.png'


def test_find_boxes__neither_layout(tmp_path):
    with pytest.raises(ValueError, match='has no train and no val part with labels'):
        find_boxes(tmp_path)


def boxes(**counts):
    return [Box(Path(f'{i}.png'), label, (0, 0, 30, 30 - i)) for label, n in counts.items() for i in range(n)]


def test_select__size_count_limit_and_classes():
    found = {'train': boxes(a=6, b=5, c=2), 'val': boxes(a=3, b=3, c=3)}

    def counts(**options):
        chosen = select(found, Selection(**{'min_size': 1, 'min_count': 3, **options}))
        return {label: sum(box.label == label for box in chosen['train']) for label in 'abc'}

    assert counts() == {'a': 6, 'b': 5, 'c': 0}
    assert counts(min_count=2) == {'a': 6, 'b': 5, 'c': 2}
    # Boxes are 30 - i high: 27 leaves i = 0 ... 3.
    assert counts(min_size=27) == {'a': 4, 'b': 4, 'c': 0}
    assert counts(max_count=2) == {'a': 2, 'b': 2, 'c': 0}
    assert counts(classes=('a', 'c'), min_count=1) == {'a': 6, 'b': 0, 'c': 2}
    spread = select(found, Selection(min_size=1, min_count=3, max_count=2))['train'][:2]
    assert [box.image.stem for box in spread] == ['0', '3']


def test_select__errors():
    found = {'train': boxes(a=6, b=1), 'val': boxes(a=3, b=3)}
    with pytest.raises(ValueError, match='no object of class dog; there are a, b'):
        select(found, Selection(classes=('dog',)))
    with pytest.raises(ValueError, match='1 classes have 2 objects of 1 pixels or more'):
        select(found, Selection(min_size=1, min_count=2))


def test_cut__margin_ends_at_the_image():
    image = np.arange(60 * 80).reshape(60, 80, 1)
    assert np.array_equal(cut(image, (10, 20, 30, 10), 0.2), image[18:32, 4:46])
    assert np.array_equal(cut(image, (0, 50, 30, 10), 0.2), image[48:60, 0:36])


def test_write_crops__folders_of_classes(tmp_path):
    root = coco(tmp_path / 'coco', {'train': [(3, 10, 5, 30, 20, 0), (7, 40, 30, 20, 20, 0)] * 2, 'val': []})
    out = tmp_path / 'out'
    counts = write_crops({'train': find_boxes_of(root)}, out, margin=0.0)
    assert counts == {'train': {'cat': 2, 'traffic/light': 2}}
    files = sorted(str(file.relative_to(out)) for file in out.rglob('*.jpg'))
    assert files == [f'train/{name}/0000{i}.jpg' for name in ('cat', 'traffic_light') for i in (0, 1)]
    crop = cv2.imread(str(out / 'train' / 'cat' / '00000.jpg'))
    assert crop.shape == (20, 30, 3)
    # Blue counts rows from 5, green columns from 10.
    assert np.abs(crop[10, 15].astype(int) - [15, 25, 0]).max() <= 3
    with pytest.raises(FileExistsError, match='is not empty'):
        write_crops({}, out, margin=0.0)


def find_boxes_of(root):
    from backbones.data.coco.layout import check_parts, coco_files
    from pretrain.data.crops import coco_boxes

    file, folders = coco_files(root)['train']
    return list(coco_boxes(check_parts({'train': (file, folders)})['train']))
