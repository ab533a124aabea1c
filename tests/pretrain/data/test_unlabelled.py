import multiprocessing

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from pretrain.data import unlabelled as data
from pretrain.data.randomness import seed_worker
from pretrain.data.reading import read_tensor
from pretrain.data.unlabelled import UnlabelledImages, flatten_repeats


def write_images(root, count, size=(30, 40)):
    rng = np.random.default_rng(0)
    root.mkdir(exist_ok=True)
    for index in range(count):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f'{index:03}.png')
    return root


def loader(dataset, start_method='fork', workers=2):
    return DataLoader(
        dataset,
        batch_size=4,
        num_workers=workers,
        multiprocessing_context=multiprocessing.get_context(start_method) if workers else None,
        worker_init_fn=seed_worker if workers else None,
    )


def epoch(batches, seed):
    torch.manual_seed(seed)
    return torch.cat([batch['inputs'] for batch in batches])


def test_dataset__gives_uint8_channels_first(tmp_path):
    dataset = DATASETS.build(
        dict(type='UnlabelledImages', data_root=str(write_images(tmp_path, 3)), crop_size=(16, 24))
    )
    item = dataset[1]
    assert len(dataset) == 3
    assert item.keys() == {'inputs'}
    assert item['inputs'].shape == (3, 16, 24)
    assert item['inputs'].dtype == torch.uint8


def test_dataset__channels_are_rgb(tmp_path):
    Image.new('RGB', (40, 30), (250, 120, 10)).save(tmp_path / 'a.png')
    pixel = UnlabelledImages(str(tmp_path), crop_size=16)[0]['inputs'][:, 8, 8]
    assert pixel.tolist() == [250, 120, 10]


def test_dataset__crop_scale_changes_the_crops(tmp_path):
    left_to_right = np.tile(np.arange(40, dtype=np.uint8) * 6, (40, 1))
    Image.fromarray(left_to_right).save(tmp_path / 'a.png')

    def spread(scale):
        dataset = UnlabelledImages(str(tmp_path), 16, scale)
        return np.mean([np.ptp(dataset[0]['inputs'][0].numpy()) for _ in range(50)])

    # A crop of a tenth of the area spans a third of the width, the whole image all of it.
    assert spread((0.1, 0.1)) < 0.5 * spread((0.9, 1.0))


def test_dataset__several_directories(tmp_path):
    roots = [str(write_images(tmp_path / name, count)) for name, count in (('a', 2), ('b', 3))]
    dataset = UnlabelledImages(roots, crop_size=16)
    assert len(dataset) == 5


def test_dataset__names_beyond_ascii(tmp_path):
    write_images(tmp_path / 'фото', 1)
    assert UnlabelledImages(str(tmp_path), crop_size=16)[0]['inputs'].shape == (3, 16, 16)


def test_dataset__broken_file_is_named_and_the_next_taken(tmp_path):
    write_images(tmp_path, 3)
    (tmp_path / '002.png').write_bytes(b'broken')
    Image.new('RGB', (40, 30), (250, 120, 10)).save(tmp_path / '000.png')
    dataset = UnlabelledImages(str(tmp_path), crop_size=16)
    with pytest.warns(UserWarning, match=r'002\.png cannot be decoded.*the next image takes its place'):
        image = dataset[2]['inputs']
    assert image[:, 8, 8].tolist() == [250, 120, 10]


@pytest.mark.filterwarnings('ignore:.*cannot be decoded')
def test_dataset__nothing_but_broken_files_is_an_error(tmp_path):
    for name in ('a.jpg', 'b.png'):
        (tmp_path / name).write_bytes(b'broken')
    with pytest.raises(ValueError, match=r'none of the 2 images can be read, the first is .*a\.jpg'):
        UnlabelledImages(str(tmp_path))[1]


def test_workers__same_seed_same_crops(tmp_path):
    batches = loader(UnlabelledImages(str(write_images(tmp_path, 8)), crop_size=16))
    assert torch.equal(epoch(batches, 1), epoch(batches, 1))


def test_workers__next_epoch_draws_other_crops(tmp_path):
    batches = loader(UnlabelledImages(str(write_images(tmp_path, 8)), crop_size=16))
    assert not torch.equal(epoch(batches, 1), epoch(batches, 2))


def test_workers__do_not_repeat_each_other(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    for name in range(8):
        Image.fromarray(pixels).save(tmp_path / f'{name}.png')
    dataset = UnlabelledImages(str(tmp_path), crop_size=16)
    crops = epoch(loader(dataset), 1)
    assert not torch.equal(crops[:4], crops[4:])


@pytest.mark.slow
def test_workers__spawned_draw_what_forked_do(tmp_path):
    dataset = UnlabelledImages(str(write_images(tmp_path, 4)), crop_size=16)
    assert torch.equal(epoch(loader(dataset, 'spawn', 1), 1), epoch(loader(dataset, 'fork', 1), 1))


def test_main_process__torch_seed_decides(tmp_path):
    batches = loader(UnlabelledImages(str(write_images(tmp_path, 8)), crop_size=16), workers=0)
    assert torch.equal(epoch(batches, 1), epoch(batches, 1))
    assert not torch.equal(epoch(batches, 1), epoch(batches, 2))


def test_dataset__repeats_are_views_of_one_image(tmp_path, monkeypatch):
    write_images(tmp_path, 3)
    dataset = UnlabelledImages(str(tmp_path), crop_size=16, repeats=4)
    reads = []
    monkeypatch.setattr(data, 'read_tensor', lambda path: reads.append(path) or read_tensor(path))
    torch.manual_seed(7)
    views = dataset[1]['inputs']
    assert len(reads) == 1
    image = read_tensor(reads[0])
    torch.manual_seed(7)
    expected = [dataset.make_views(image)['inputs'] for _ in range(4)]
    assert all(torch.equal(view, one) for view, one in zip(views, expected, strict=True))
    assert not torch.equal(views[0], views[1])


def test_flatten_repeats__views_of_an_image_stay_together():
    samples = [{'inputs': torch.full((3, 3, 2, 4), index)} for index in range(5)]
    batch = flatten_repeats(samples)['inputs']
    assert batch.shape == (15, 3, 2, 4)
    assert batch[:, 0, 0, 0].tolist() == [index // 3 for index in range(15)]


def test_dataset__repeats_below_one(tmp_path):
    with pytest.raises(ValueError, match='repeats=0 is below 1'):
        UnlabelledImages(str(write_images(tmp_path, 1)), repeats=0)


def test_workers__processes_draw_other_crops_from_one_seed(tmp_path, monkeypatch):
    """Even where all processes start from one state: the launcher's RANK counts."""
    batches = loader(UnlabelledImages(str(write_images(tmp_path, 8)), crop_size=16))
    monkeypatch.delenv('RANK', raising=False)
    alone = epoch(batches, 1)
    monkeypatch.setenv('RANK', '0')
    first = epoch(batches, 1)
    monkeypatch.setenv('RANK', '1')
    assert torch.equal(alone, first)
    assert not any(torch.equal(one, two) for one, two in zip(first, epoch(batches, 1), strict=True))
