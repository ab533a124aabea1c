"""Shards: packed, streamed by several workers and processes, shuffled, resumed."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from torch.utils.data import DataLoader

from pretrain import shards
from pretrain.data import UnlabelledImages
from pretrain.shards import ShardedImages, read_index, write_shards
from tools.shards import main

COUNT = 14


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Flat images whose grey tells them apart."""
    root = tmp_path_factory.mktemp('images')
    for index in range(COUNT):
        pixels = np.full((20, 30, 3), 10 * index, dtype=np.uint8)
        Image.fromarray(pixels).save(root / f'{index}{".png" if index % 2 else ".jpg"}', quality=100)
    return root


@pytest.fixture(scope='module')
def packed(images, tmp_path_factory):
    out = tmp_path_factory.mktemp('packed') / 'shards'
    write_shards(str(images), out, 4)
    return str(out)


def greys(samples):
    return [round(sample['inputs'].float().mean().item() / 10) for sample in samples]


def test_write_shards__each_image_once(packed):
    index = read_index(packed)
    assert [shard['name'] for shard in index] == ['000000.tar', '000001.tar', '000002.tar', '000003.tar']
    assert [shard['images'] for shard in index] == [4, 4, 4, 2]
    seen = greys(ShardedImages(packed, crop_size=16))
    assert sorted(seen) == list(range(COUNT))
    assert seen != sorted(seen)


def test_sharded_images__views_of_unlabelled_images(images, packed):
    streamed = ShardedImages(packed, crop_size=(16, 24), crop='centre')
    plain = UnlabelledImages(str(images), crop_size=(16, 24), crop='centre')
    expected = {greys([view])[0]: view['inputs'] for view in (plain[index] for index in range(COUNT))}
    for view in streamed:
        assert torch.equal(view['inputs'], expected[greys([view])[0]])


def test_sharded_images__buffer_mixes_shards(packed):
    torch.manual_seed(0)
    first = {shard: greys(list(ShardedImages(packed, 16, buffer=1)))[:4] for shard in range(3)}
    apart = ShardedImages(packed, 16, buffer=1)
    sets = [set(greys([view for _, view in zip(range(4), apart, strict=False)])) for _ in range(6)]
    whole = [set(greys(list(ShardedImages(packed, 16, buffer=100))[:4])) for _ in range(6)]
    assert first
    # Without a buffer the first four are one shard, or the short one and half of another.
    assert len({frozenset(each) for each in sets}) < len({frozenset(each) for each in whole})


def test_sharded_images__workers_share_the_shards(packed):
    torch.manual_seed(3)
    loader = DataLoader(ShardedImages(packed, 16), batch_size=None, num_workers=2)
    seen = greys(loader)
    assert len(seen) == COUNT
    # 8 images in one worker's shards and 6 in the other's, 7 wanted of each
    assert len(set(seen)) == COUNT - 1


def test_sharded_images__processes_get_as_many(packed, monkeypatch):
    counts, seen = [], set()
    for rank in range(3):
        monkeypatch.setattr(shards, 'get_dist_info', lambda rank=rank: (rank, 3))
        dataset = ShardedImages(packed, 16)
        found = greys(dataset)
        counts.append((len(dataset), len(found)))
        seen |= set(found)
    assert counts == [(4, 4)] * 3
    assert len(seen) == 12


def test_sharded_images__too_many_workers(packed, monkeypatch):
    monkeypatch.setattr(shards, 'get_dist_info', lambda: (4, 5))
    with pytest.raises(ValueError, match=r'4 shards for 5 processes of 1 workers: use fewer'):
        next(iter(ShardedImages(packed, 16)))


def test_read_index__absent(tmp_path):
    with pytest.raises(ValueError, match=r'no index\.json of shards .*tools/shards\.py'):
        read_index(str(tmp_path))


def test_webdataset__not_installed(monkeypatch, packed):
    monkeypatch.setitem(sys.modules, 'webdataset', None)
    with pytest.raises(ImportError, match=r"pip install 'dense-mae\[shards\]'"):
        ShardedImages(packed)


def test_main__packs_and_refuses(images, tmp_path, capsys):
    assert main([str(images), str(tmp_path / 'out'), '--images', '5']) == 0
    assert capsys.readouterr().out == f'{tmp_path / "out"}: 14 images in 3 shards\n'
    assert main([str(images), str(tmp_path / 'out')]) == 2
    assert 'has an index.json already' in capsys.readouterr().err
    assert main([str(images), str(tmp_path / 'other'), '--images', '0']) == 2
    assert 'images_per_shard=0' in capsys.readouterr().err


def run(packed, work_dir, epochs, **changes):
    cfg = Config.fromfile(Path(__file__).resolve().parents[2] / 'pretrain' / 'configs' / 'mae_tiny.py')
    cfg.merge_from_dict(
        {
            'work_dir': str(work_dir),
            'model.encoder.img_size': 32,
            'train_dataloader.dataset': dict(
                _delete_=True, type='ShardedImages', data_root=packed, crop_size=32, buffer=8
            ),
            'train_dataloader.sampler': None,
            'train_dataloader.batch_size': 4,
            'train_dataloader.num_workers': 2,
            'train_cfg.max_epochs': epochs,
            'param_scheduler.0.end': 1,
            'param_scheduler.1.begin': 1,
            'param_scheduler.1.end': 2,
            'default_hooks.checkpoint.interval': 1,
            'experiment_name': f'{work_dir.parent.name}_{work_dir.name}',
            **changes,
        }
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


@pytest.mark.slow
def test_sharded_images__a_resumed_run_goes_on(packed, tmp_path):
    whole = run(packed, tmp_path / 'whole', 2)
    run(packed, tmp_path / 'part', 1)
    resumed = run(packed, tmp_path / 'rest', 2, resume=True, load_from=str(tmp_path / 'part' / 'epoch_1.pth'))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
