"""Shards: packed, read image by image in any number of workers, resumed, and refused where they are damaged."""

import json
import shutil
import tarfile
import warnings
from itertools import chain
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from mmengine.dataset import DefaultSampler
from PIL import Image
from torch.utils.data import DataLoader

from downstream.cli.shards import main
from downstream.cli.train import main as train
from pretrain.data.images import find_images
from pretrain.data.randomness import seed_worker
from pretrain.data.shards import ShardedImages, read_index
from pretrain.data.shards_write import write_shards
from pretrain.data.unlabelled import UnlabelledImages, flatten_repeats
from tests.conftest import ROOT
from tests.two_processes import in_two

COUNT = 257


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Flat images whose colour is their number."""
    root = tmp_path_factory.mktemp('images')
    for index in range(COUNT):
        pixels = np.empty((12, 8, 3), np.uint8)
        pixels[:] = index // 16 * 10, index % 16 * 10, 7
        Image.fromarray(pixels).save(root / f'{index:03}.{"png" if index % 3 else "tif"}')
    return root


@pytest.fixture(scope='module')
def packed(images, tmp_path_factory):
    out = tmp_path_factory.mktemp('packed') / 'shards'
    write_shards(str(images), out, 40)
    return str(out)


def numbers(batch):
    """The images of a batch (B, 3, h, w), by their colours."""
    red, green, blue = batch.float().mean(dim=(2, 3)).unbind(1)
    assert (blue.round() == 7).all()
    return (red / 10).round().long().mul(16).add((green / 10).round().long()).tolist()


def test_write_shards__each_image_once_bytes_as_they_are(images, packed):
    names, places = read_index(packed)
    assert names == [f'{number:06d}.tar' for number in range(7)]
    assert np.bincount(places[:, 0]).tolist() == [40] * 6 + [17]
    found = []
    for name in names:
        with tarfile.open(Path(packed) / name) as tar:
            found += [tar.extractfile(entry).read() for entry in tar.getmembers()]
    by_place = [Path(packed, names[shard]).read_bytes()[start : start + length] for shard, start, length in places]
    assert by_place == found
    assert sorted(found) == sorted(Path(path).read_bytes() for path in find_images(str(images)))
    order = numbers(torch.stack([ShardedImages(packed, 4)[index]['inputs'] for index in range(COUNT)]))
    assert sorted(order) == list(range(COUNT)) != order


def test_sharded_images__views_of_unlabelled_images(images, packed):
    options = dict(crop_size=(16, 24), crop='centre', token_size=(8, 12), color_jitter=0.4)
    streamed, plain = ShardedImages(packed, **options), UnlabelledImages(str(images), **options)
    order = [numbers(ShardedImages(packed, 4)[index]['inputs'][None])[0] for index in range(20)]
    for index, number in enumerate(order):
        for seed in range(2):
            torch.manual_seed(seed)
            ours = streamed[index]
            torch.manual_seed(seed)
            expected = plain[number]
            assert ours.keys() == expected.keys() == {'inputs', 'token_inputs'}
            assert all(torch.equal(ours[name], expected[name]) for name in ours)


def test_sharded_images__repeats_share_the_image(packed):
    batch = flatten_repeats(ShardedImages(packed, 8, repeats=3).__getitems__([5, 9]))['inputs']
    found = numbers(batch)
    assert len(found) == 6 and len(set(found[:3])) == len(set(found[3:])) == 1
    with pytest.raises(ValueError, match='repeats=0 is below 1'):
        ShardedImages(packed, repeats=0)


def epochs_of(packed, batch, workers, drop_last, count=2):
    dataset = ShardedImages(packed, 4, crop='centre')
    sampler = DefaultSampler(dataset, shuffle=True, seed=1)
    loader = DataLoader(
        dataset, batch, sampler=sampler, num_workers=workers, drop_last=drop_last, worker_init_fn=seed_worker
    )
    found = []
    for epoch in range(count):
        sampler.set_epoch(epoch)
        found.append([numbers(batch['inputs']) for batch in loader])
        assert len(loader) == len(found[-1])
    return found


@pytest.mark.parametrize('drop_last', [False, True])
@pytest.mark.parametrize('batch', [20, 24])
@pytest.mark.parametrize('workers', [0, 8])
def test_loader__length_is_exact_and_each_image_comes_once(packed, workers, batch, drop_last):
    first, second = epochs_of(packed, batch, workers, drop_last)
    whole, rest = divmod(COUNT, batch)
    assert [len(part) for part in first] == [batch] * whole + ([] if drop_last or not rest else [rest])
    for epoch in (first, second):
        seen = list(chain(*epoch))
        assert len(set(seen)) == len(seen) == COUNT - (rest if drop_last else 0)
    assert first != second


def test_loader__two_processes_share_the_images(tmp_path, packed):
    """257 images make 129 for each: a single one comes twice."""
    shares = [list(chain(*batches[0])) for batches in in_two(tmp_path, epochs_of, packed, 20, 2, False, 1)]
    assert [len(share) for share in shares] == [129, 129]
    assert set(shares[0]) | set(shares[1]) == set(range(COUNT))


def copied(packed, tmp_path):
    return Path(shutil.copytree(packed, tmp_path / 'copy'))


def damage(folder, number):
    """Overwrite an image of a set of shards."""
    names, places = read_index(str(folder))
    shard, start, length = places[number].tolist()
    with open(folder / names[shard], 'r+b') as file:
        file.seek(start)
        file.write(bytes(length))
    return f'image {number:09d} in {folder}/{names[shard]}'


def test_broken_image__is_named_and_the_next_taken(packed, tmp_path):
    folder = copied(packed, tmp_path)
    name = damage(folder, 40)
    dataset = ShardedImages(str(folder), 4)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter('always')
        found = numbers(torch.stack([view['inputs'] for view in dataset.__getitems__([39, 40, 41])]))
    assert found[1] == found[2] != found[0]
    assert [str(each.message).startswith(name) for each in heard] == [True]
    assert str(heard[0].message).endswith('; the next image takes its place')


@pytest.mark.filterwarnings('ignore:image')
def test_broken_images__all_of_them_are_an_error(tmp_path, images):
    write_shards(str(images), tmp_path / 'out', 300)
    for number in range(COUNT):
        damage(tmp_path / 'out', number)
    with pytest.raises(ValueError, match=r'none of the 257 images in .*out can be read'):
        ShardedImages(str(tmp_path / 'out'), 4)[3]


def edited(key, value):
    def edit(folder):
        content = json.loads((folder / 'index.json').read_text())
        content['shards'][1][key] = value
        (folder / 'index.json').write_text(json.dumps(content))

    return edit


def with_places(change):
    def edit(folder):
        places = np.load(folder / 'places.npy')
        np.save(folder / 'places.npy', change(places))

    return edit


def beyond(places):
    places[70, 1] += 10**9
    return places


@pytest.mark.parametrize(
    ('edit', 'message'),
    [
        (lambda folder: (folder / 'index.json').unlink(), r'has no index\.json of shards, or an older one'),
        (lambda folder: (folder / 'places.npy').unlink(), r'has no index\.json of shards, or an older one'),
        (lambda folder: (folder / 'index.json').write_text('[' * 100000), r'has no index\.json.*RecursionError'),
        (lambda folder: (folder / 'index.json').write_text('{"shards": []}'), 'do not go together'),
        (edited('name', '../elsewhere.tar'), 'do not go together'),
        (edited('name', 7), 'do not go together'),
        (edited('images', 10**12), 'do not go together'),
        (edited('images', '40'), 'do not go together'),
        (edited('images', 41), 'do not go together'),
        (edited('bytes', 512), 'do not go together'),
        (edited('name', 'absent.tar'), r'absent\.tar cannot be read: FileNotFoundError'),
        (lambda folder: (folder / '000002.tar').write_bytes(b''), r'000002\.tar has 0 bytes in place of \d+'),
        (with_places(lambda places: places[1:]), 'do not go together'),
        (with_places(lambda places: places.astype(object)), r'has no index\.json of shards.*allow_pickle'),
        (with_places(lambda places: -places), 'do not go together'),
        (with_places(beyond), 'do not go together'),
    ],
)  # fmt: skip
def test_read_index__damaged(packed, tmp_path, edit, message):
    folder = copied(packed, tmp_path)
    edit(folder)
    with pytest.raises(ValueError, match=message):
        ShardedImages(str(folder))


@pytest.mark.parametrize('root', ['pipe:touch EVIL', 'pipe:///touch EVIL', 'nothing://here', '/no/such'])
def test_read_index__addresses_that_are_none(root):
    with pytest.raises(ValueError, match=r'index\.json of shards'):
        ShardedImages(root)
    assert not Path('EVIL').exists()


@pytest.fixture
def in_memory(packed):
    files = fsspec.filesystem('memory')
    files.put(packed, '/shards', recursive=True)
    yield 'memory://shards'
    files.rm('/shards', recursive=True)


def test_sharded_images__at_an_address(packed, in_memory):
    there, here = ShardedImages(in_memory, 4, crop='centre'), ShardedImages(packed, 4, crop='centre')
    assert all(
        torch.equal(a['inputs'], b['inputs'])
        for a, b in zip(there.__getitems__([0, 99]), here.__getitems__([0, 99]), strict=True)
    )


class WholeFiles(MemoryFileSystem):
    """Sends the whole file whatever range was asked for, as some servers do."""

    protocol = 'wholefiles'

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix('wholefiles:/'))

    def cat_file(self, path, start=None, end=None, **kwargs):
        return super().cat_file(path)


@pytest.mark.filterwarnings('ignore:image')
def test_sharded_images__server_without_ranges(in_memory):
    fsspec.register_implementation('wholefiles', WholeFiles, clobber=True)
    dataset = ShardedImages('wholefiles://shards', 4)
    told = r'image 000000003 in .* cannot be read: \d+ bytes came in place of \d+'
    with pytest.warns(UserWarning, match=told), pytest.raises(ValueError, match='none of the 257 images'):
        dataset[3]


def test_main__packs_and_refuses(images, tmp_path, capsys):
    assert not main([str(images), str(tmp_path / 'out'), '--images', '50'])
    assert capsys.readouterr().out == f'{tmp_path / "out"}: 257 images in 6 shards\n'
    for arguments, message in (
        ([str(images), str(tmp_path / 'out')], 'has an index.json already'),
        ([str(images), str(tmp_path / 'other'), '--images', '0'], '--images'),
    ):
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code
        assert status == 2
        assert message in capsys.readouterr().err


def run(packed, work_dir, epochs, *more):
    """Train through the command line; return the last weights and the iterations."""
    options = [
        'model.encoder.img_size=32', 'train_dataloader.dataset.type=ShardedImages',
        'train_dataloader.dataset.crop_size=32', 'train_dataloader.batch_size=48', 'train_dataloader.num_workers=2',
        'train_dataloader.drop_last=True',
        'param_scheduler.0.end=1', 'param_scheduler.1.begin=1', 'default_hooks.checkpoint.interval=1',
        'default_hooks.checkpoint.max_keep_ckpts=-1', 'train_cfg.max_epochs=2', 'model.encoder.variant.depth=1',
        'model.encoder.variant.embed_dim=24', 'model.encoder.variant.num_heads=3',
    ]  # fmt: skip
    config = str(ROOT / 'pretrain/configs/mae_quickstart.py')
    train([config, '--data-root', packed, '--work-dir', str(work_dir), *more, '--cfg-options', *options])
    return torch.load(work_dir / f'epoch_{epochs}.pth', weights_only=False)


@pytest.mark.slow
def test_train__counts_as_the_loader_does_and_a_resumed_run_goes_on(packed, tmp_path, capfd):
    whole = run(packed, tmp_path / 'whole', 2)
    assert whole['meta']['iter'] == 2 * (COUNT // 48)
    middle = tmp_path / 'whole' / 'epoch_1.pth'
    resumed = run(packed, tmp_path / 'rest', 2, '--resume', str(middle))
    assert whole['meta']['iter'] == resumed['meta']['iter']
    assert all(torch.equal(value, resumed['state_dict'][name]) for name, value in whole['state_dict'].items())
    # The schedule ends with the last batch.
    rates = [group['lr'] for group in whole['optimizer']['param_groups']]
    assert max(rates) < 0.02 * max(whole['param_schedulers'][1]['base_values'])
