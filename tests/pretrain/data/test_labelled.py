"""Images in class folders: labels, broken files, randomness."""

import multiprocessing
import shutil

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from pretrain.data.class_transforms import EvalTransform, TrainTransform
from pretrain.data.labelled import LabelledImages
from pretrain.data.randomness import seed_worker

COLOURS = {'ant': (250, 10, 10), 'bee': (10, 250, 10), 'cat': (10, 10, 250)}


@pytest.fixture
def root(tmp_path):
    """Classes of one colour each; bee has more images, and some deeper."""
    for name, colour in COLOURS.items():
        for index in range(2):
            place = tmp_path / name / ('more/deep' if name == 'bee' and index else '')
            place.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (40, 30), colour).save(place / f'{index}.png')
    return tmp_path


def evaluation(root):
    return LabelledImages(str(root), EvalTransform(16))


def test_dataset__label_is_the_place_of_the_class_name(root):
    dataset = DATASETS.build(
        dict(type='LabelledImages', data_root=str(root), transform=dict(type='EvalTransform', size=(16, 24)))
    )
    assert dataset.metainfo == {'classes': ('ant', 'bee', 'cat')}
    assert len(dataset) == 6
    for index in range(6):
        item = dataset[index]
        assert item['inputs'].shape == (3, 16, 24)
        assert item['inputs'].dtype == torch.uint8
        name = dataset.metainfo['classes'][item['data_samples']]
        assert tuple(item['inputs'][:, 8, 8].tolist()) == COLOURS[name]
    assert [dataset[index]['data_samples'] for index in range(6)] == [0, 0, 1, 1, 2, 2]


def test_dataset__collates_to_a_batch(root):
    batch = next(iter(DataLoader(evaluation(root), batch_size=4)))
    assert batch['inputs'].shape == (4, 3, 16, 16)
    assert torch.equal(batch['data_samples'], torch.tensor([0, 0, 1, 1]))


def test_dataset__text_named_jpg_is_named_and_the_next_taken_with_its_label(root):
    (root / 'ant' / '9.jpg').write_text('no image')
    dataset = evaluation(root)
    with pytest.warns(UserWarning, match=r'9\.jpg cannot be decoded.*the next image takes its place'):
        item = dataset[2]
    assert item['data_samples'] == 1
    assert tuple(item['inputs'][:, 8, 8].tolist()) == COLOURS['bee']


def test_dataset__hidden_folders_are_no_classes(root):
    (root / '.cache').mkdir()
    assert evaluation(root).metainfo['classes'] == ('ant', 'bee', 'cat')


def test_dataset__mistakes(root, tmp_path):
    with pytest.raises(ValueError, match=r'no directory .*nowhere.* with a folder per class'):
        evaluation(root / 'nowhere')
    with pytest.raises(ValueError, match='ant has no folder per class: move the images of class NAME to'):
        evaluation(root / 'ant')
    (root / 'dog').mkdir()
    with pytest.raises(ValueError, match=r'1 of 4 class folders in .* hold no image: dog'):
        evaluation(root)
    for name in ('ant', 'bee', 'dog'):
        shutil.rmtree(root / name)
    with pytest.raises(ValueError, match='has one class only, cat'):
        evaluation(root)


def noisy(root):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    for name in ('a', 'b'):
        (root / name).mkdir()
        for index in range(4):
            Image.fromarray(pixels).save(root / name / f'{index}.png')
    return DataLoader(
        LabelledImages(str(root), TrainTransform(16)),
        batch_size=4,
        num_workers=2,
        multiprocessing_context=multiprocessing.get_context('fork'),
        worker_init_fn=seed_worker,
    )


def epoch(batches, seed):
    torch.manual_seed(seed)
    return torch.cat([batch['inputs'] for batch in batches])


def test_workers__seed_decides_and_none_repeats_another(tmp_path):
    batches = noisy(tmp_path)
    first = epoch(batches, 1)
    assert torch.equal(first, epoch(batches, 1))
    assert not torch.equal(first, epoch(batches, 2))
    # Equal images: what differs is the augmentation of the two workers.
    assert not torch.equal(first[:4], first[4:])
