"""Images with label maps: layouts, pairs that do not fit, and labels that would be trained as something else."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from backbones.data.label_maps.layout import find_ade
from backbones.data.pointing.root import apply_data_root
from tests.conftest import ROOT
from tests.datasets import CLASSES, HEIGHT, WIDTH, draw, make_ade, write_bands


def seg_config(**options):
    cfg = Config.fromfile(ROOT / 'seg_configs/upernet_vit_tiny.py')
    cfg.merge_from_dict(options)
    return cfg


def build(dataset):
    """The data set with the readers of its pipeline alone."""
    import mmseg.datasets  # noqa: F401
    from mmengine.registry import DATASETS

    steps = [step for step in dataset['pipeline'] if step['type'].startswith('Load')]
    return DATASETS.build({**dataset, '_scope_': 'mmseg', 'pipeline': steps})


def rewrite_masks(root, change):
    """Change the labels of all masks; they are written as Pillow takes the result to be."""
    for path in root.glob('annotations/*/*.png'):
        labels = change(np.array(Image.open(path)))
        (labels if isinstance(labels, Image.Image) else Image.fromarray(labels)).save(path)


def classes(root, *names):
    (root / 'classes.txt').write_text('\n'.join(names))


def palette_image(labels):
    image = Image.fromarray(labels).convert('L').convert('P')
    image.putdata(labels.ravel().tolist())
    image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200] + [0] * 756)
    return image


STORED = {
    'palette': palette_image,
    '16 bit': lambda labels: labels.astype(np.uint16),
}


@pytest.mark.parametrize('kind', sorted(STORED))
def test_find_ade__masks_are_read_as_in_training(tmp_path, kind):
    rewrite_masks(make_ade(tmp_path), STORED[kind])
    cfg = seg_config()
    told = apply_data_root(cfg, tmp_path)
    assert '3 classes: red, green, blue' in told
    assert not [line for line in told if 'occur' in line]  # every class was seen
    expected = draw(4)[1].astype(int) - 1
    expected[expected < 0] = 255
    np.testing.assert_array_equal(build(cfg.val_dataloader.dataset)[0]['gt_seg_map'], expected)


def test_find_ade__one_bit_masks_hold_zero_and_one(tmp_path):
    rewrite_masks(make_ade(tmp_path), lambda labels: Image.fromarray((labels > 0).astype(np.uint8) * 255).convert('1'))
    classes(tmp_path, 'background', 'object')
    cfg = seg_config()
    apply_data_root(cfg, tmp_path, zero_is_class=True)
    np.testing.assert_array_equal(build(cfg.val_dataloader.dataset)[0]['gt_seg_map'], draw(4)[1] > 0)


def test_find_ade__zero_as_a_class_is_set_everywhere(tmp_path):
    classes(make_ade(tmp_path), 'background', *CLASSES)
    cfg = seg_config()
    cfg.train_dataloader.dataset.pipeline[1].reduce_zero_label = True
    with pytest.raises(ValueError, match=r'label 4 \(blue\) occurs in none of 4 masks .* is 0 a class \(background\)'):
        apply_data_root(cfg, tmp_path)
    told = apply_data_root(cfg, tmp_path, zero_is_class=True)
    assert any('(label 0 is background)' in line for line in told)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.reduce_zero_label is False
        dataset = build(loader.dataset)
        assert dataset.metainfo['reduce_zero_label'] is False
        index = 0 if loader is cfg.train_dataloader else 4
        np.testing.assert_array_equal(dataset[0]['gt_seg_map'], draw(index)[1])
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == 4


def test_find_ade__zero_ignored_although_the_last_class_is_absent(tmp_path):
    classes(make_ade(tmp_path), *CLASSES, 'never')
    with pytest.raises(ValueError, match='if it is not, --no-zero-is-class'):
        apply_data_root(seg_config(), tmp_path)
    cfg = seg_config()
    told = apply_data_root(cfg, tmp_path, zero_is_class=False)
    assert any(line.startswith(f'warning: label 4 (never) occurs in none of 4 masks in {tmp_path}') for line in told)
    assert cfg.val_dataloader.dataset.reduce_zero_label is True


def test_find_ade__config_that_keeps_zero(tmp_path):
    classes(make_ade(tmp_path), 'background', *CLASSES)
    keeps = {f'{part}_dataloader.dataset.reduce_zero_label': False for part in ('train', 'val', 'test')}
    cfg = seg_config(**keeps)
    apply_data_root(cfg, tmp_path)
    assert cfg.val_dataloader.dataset.reduce_zero_label is False
    # Of one part alone it says nothing of the data set.
    with pytest.raises(ValueError, match='is 0 a class'):
        apply_data_root(seg_config(**{'train_dataloader.dataset.reduce_zero_label': False}), tmp_path)


LABELS = {
    'one class': (['object'], lambda labels: (labels > 0).astype(np.uint8), 'lists one class, object, and there is'),
    '0 and 255': (['a', 'b'], lambda labels: (labels > 0).astype(np.uint8) * 255, 'hold nothing but 0 and 255, which'),
    'all 255': (['a', 'b'], lambda labels: np.full_like(labels, 255), 'hold nothing but 255, which is ignored'),
    'all 0': (['a', 'b'], np.zeros_like, 'hold nothing but 0, which is ignored'),
    'shifted': (['wall', 'door'], lambda labels: (labels == 1).astype(np.uint8), r'is 0 a class \(wall\)'),
    'beyond 8 bit': (['a', 'b'], lambda labels: labels.astype(np.uint16) * 150, 'holds label 450, but'),
    'colours': (['a', 'b', 'c'], lambda labels: np.stack([labels] * 3, -1), 'is no mask: one channel of labels'),
}


@pytest.mark.parametrize('case', sorted(LABELS))
def test_find_ade__labels_that_cannot_be_trained(tmp_path, case):
    names, change, message = LABELS[case]
    rewrite_masks(make_ade(tmp_path), change)
    classes(tmp_path, *names)
    with pytest.raises(ValueError, match=message):
        find_ade(tmp_path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda labels: labels.astype(np.float32), r'000\.tif is no mask: one channel of whole numbers is needed'),
        (lambda labels: labels.astype(np.int32) - 1, r'000\.tif holds label -1, but'),
    ],
)
def test_find_ade__labels_in_32_bit(tmp_path, change, message):
    for path in make_ade(tmp_path).glob('annotations/*/*.png'):
        Image.fromarray(change(np.array(Image.open(path)))).save(path.with_suffix('.tif'))
        path.unlink()
    with pytest.raises(ValueError, match=message):
        find_ade(tmp_path)


def test_find_ade__labels_from_one_with_zero_asked_for(tmp_path):
    classes(make_ade(tmp_path), 'ground', *CLASSES)
    rewrite_masks(tmp_path, lambda labels: labels + 1)
    with pytest.raises(
        ValueError, match=r'holds label 4, .* labels are 0 to 3, 255 is ignored.* leave --zero-is-class'
    ):
        find_ade(tmp_path, zero_is_class=True)
    assert find_ade(tmp_path)['train'].first_label == 1


def test_find_ade__every_mask_is_looked_at(tmp_path):
    make_ade(tmp_path, sizes=(45, 2))
    path = tmp_path / 'annotations/training/031.png'
    whole = path.read_bytes()
    cv2.imwrite(str(path), np.full((HEIGHT, WIDTH), 9, np.uint8))
    with pytest.raises(ValueError, match=r'031\.png holds label 9'):
        find_ade(tmp_path)
    path.write_bytes(whole[:60])
    with pytest.raises(ValueError, match=r'031\.png is cut short'):
        find_ade(tmp_path)
    path.write_bytes(b'')
    with pytest.raises(ValueError, match=r'031\.png is no image'):
        find_ade(tmp_path)


def test_find_ade__pairs_of_other_sizes(tmp_path):
    make_ade(tmp_path)
    for index in (1, 2):
        path = tmp_path / f'annotations/training/00{index}.png'
        Image.open(path).resize((32, 24), Image.Resampling.NEAREST).save(path)
    with pytest.raises(ValueError, match=r'001\.jpg has 48 x 64 pixels, its mask .*24 x 32; and 1 more of 4 pairs'):
        find_ade(tmp_path)


def test_find_ade__image_turned_by_exif(tmp_path):
    make_ade(tmp_path)
    path, turn = tmp_path / 'images/validation/004.jpg', Image.Exif()
    turn[274] = 6
    Image.open(path).save(path, exif=turn)
    with pytest.raises(ValueError, match=r'004\.jpg has 64 x 48 pixels as seen: EXIF turns it, and not the mask'):
        find_ade(tmp_path)


def test_find_ade__cut_image(tmp_path):
    make_ade(tmp_path)
    path = tmp_path / 'images/training/002.jpg'
    whole = path.read_bytes()
    path.write_bytes(whole + b'maker notes')
    find_ade(tmp_path)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(ValueError, match=r'002\.jpg is cut short'):
        find_ade(tmp_path)


def test_find_ade__suffixes_differ(tmp_path):
    folder = make_ade(tmp_path) / 'images/training'
    (folder / '000.jpg').rename(folder / '000.JPG')
    Image.open(folder / '001.jpg').save(folder / '001.png')
    (folder / '001.jpg').unlink()
    cfg = seg_config()
    apply_data_root(cfg, tmp_path)
    train = build(cfg.train_dataloader.dataset)
    assert [Path(train.get_data_info(index)['img_path']).name for index in range(4)] == [
        '000.JPG',
        '001.png',
        '002.jpg',
        '003.jpg',
    ]
    expected = draw(1)[1].astype(int) - 1
    expected[expected < 0] = 255
    np.testing.assert_array_equal(train[1]['gt_seg_map'], expected)
    assert train[1]['img'].shape == (HEIGHT, WIDTH, 3)
    assert train.metainfo['classes'] == tuple(CLASSES)
    assert cfg.val_dataloader.dataset.type == 'BaseSegDataset'


def test_find_ade__folders_below(tmp_path):
    make_ade(tmp_path)
    for kind in ('images', 'annotations'):
        folder = tmp_path / kind / 'training'
        (folder / 'town').mkdir()
        for path in folder.glob('00[12].*'):
            path.rename(folder / 'town' / path.name)
    cfg = seg_config()
    apply_data_root(cfg, tmp_path)
    train = build(cfg.train_dataloader.dataset)
    assert len(train) == 4
    assert train[3]['seg_map_path'] == str(tmp_path / 'annotations/training/town/002.png')
    assert train[3]['gt_seg_map'].shape == (HEIGHT, WIDTH)


LAYOUTS = ['images/{}:annotations/{}', 'img_dir/{}:ann_dir/{}', 'images/{}:masks/{}', '{}/images:{}/labels']


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('splits', [('train', 'val'), ('Train', 'Validation')])
def test_find_ade__layouts(tmp_path, layout, splits):
    make_ade(tmp_path / 'made')
    for name, split in zip(('training', 'validation'), splits, strict=True):
        for kind, place in zip(('images', 'annotations'), layout.split(':'), strict=True):
            shutil.copytree(tmp_path / 'made' / kind / name, tmp_path / 'set' / place.format(split))
    shutil.copy(tmp_path / 'made/classes.txt', tmp_path / 'set')
    found = find_ade(tmp_path / 'set')
    assert [len(found[part].pairs.images) for part in ('train', 'val')] == [4, 2]
    assert found['val'].pairs.masks[1] == tmp_path / 'set' / layout.split(':')[1].format(splits[1]) / '005.png'


def test_find_ade__masks_without_image_are_counted(tmp_path):
    make_ade(tmp_path)
    (tmp_path / 'images/training/003.jpg').unlink()
    told = apply_data_root(seg_config(), tmp_path)
    assert any('1 masks in' in line and 'have no image and are left out: 003.png' in line for line in told)


def test_find_ade__masks_with_other_names(tmp_path):
    for path in make_ade(tmp_path).glob('annotations/*/*.png'):
        path.rename(path.with_name(f'{path.stem}_mask.png'))
    with pytest.raises(ValueError, match=r'4 of 4 images .* Masks there are called 000_mask\.png: a mask has the name'):
        find_ade(tmp_path)


def test_find_ade__two_files_of_one_name(tmp_path):
    """Masks beside the images would be trained on as images."""
    shutil.copy(make_ade(tmp_path) / 'annotations/training/001.png', tmp_path / 'images/training/001.png')
    with pytest.raises(ValueError, match=r'2 of 5 images share their name with another \(.*001\.jpg, 001\.png\)'):
        find_ade(tmp_path)
    (tmp_path / 'images/training/001.png').rename(tmp_path / 'annotations/training/001.tif')
    with pytest.raises(ValueError, match=r'2 of 5 masks share their name with another'):
        find_ade(tmp_path)


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['red', '', 'green', 'blue'], r'line 2 is blank, and line n names label n'),
        (['', 'red', 'green', 'blue'], r'line 1 is blank'),
        (['0: red', '1: green', '2: blue'], r'line 1 \(0: red\) names label 1: .* give --zero-is-class'),
        (['', ''], 'no class is listed'),
    ],
)
def test_find_ade__lines_that_name_other_labels(tmp_path, names, message):
    classes(make_ade(tmp_path), *names)
    with pytest.raises(ValueError, match=message):
        find_ade(tmp_path)
    classes(tmp_path, '1 red', '2 green', '3 blue', '')
    assert find_ade(tmp_path)['val'].classes == ('1 red', '2 green', '3 blue')


def test_find_ade__class_list_of_a_windows_editor(tmp_path):
    source = make_ade(tmp_path) / 'classes.txt'
    source.write_bytes(b'\xef\xbb\xbfred\r\ngreen\r\nblue\r\n')
    assert find_ade(tmp_path)['train'].classes == ('red', 'green', 'blue')
    source.write_bytes('rot\ngrün\nblau\n'.encode('latin-1'))
    with pytest.raises(ValueError, match=r'classes\.txt is no UTF-8 text'):
        find_ade(tmp_path)


def test_find_ade__five_bands(tmp_path):
    make_ade(tmp_path)
    path = tmp_path / 'images/training/001.jpg'
    path.unlink()
    write_bands(path.with_suffix('.tif'), HEIGHT, WIDTH, 5)
    with pytest.raises(ValueError, match=r'001\.tif cannot be read: it has 5 bands, and 1, 3 or 4 can be read'):
        find_ade(tmp_path)
