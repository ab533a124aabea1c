"""The token cache against ids computed on the same views here, in a plain loop."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from PIL import Image

from pretrain.data.reading import read_tensor
from pretrain.data.unlabelled import UnlabelledImages
from pretrain.data.views import resize_lanczos
from pretrain.tokenizer.cache import CachedTokenImages, cut_view, file_digest
from pretrain.tokenizer.cache_write import describe, draw_views, write_cache
from pretrain.tokenizer.dvae import DiscreteVAE
from pretrain.tokenizer.training import TokenizerTraining
from tests.helpers import randomise
from tests.pretrain.data.test_unlabelled import write_images

VIEWS = 5


def small_tokenizer(seed=0):
    tokenizer = randomise(DiscreteVAE(vocab_size=32, hidden=8, groups=3, blocks=1), seed)
    # Random weights alone would name one code everywhere.
    TokenizerTraining(tokenizer).spread_codes(torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(9)), 1.0)
    return tokenizer


@pytest.fixture
def files(tmp_path):
    write_images(tmp_path / 'images', 4, size=(40, 60))
    write_images(tmp_path / 'images' / 'more', 2, size=(50, 30))
    torch.save(small_tokenizer().state_dict(), tmp_path / 'tokenizer.pth')
    return tmp_path


def make(files, tokenizer=None, **options):
    tokenizer = tokenizer or small_tokenizer()
    about = describe(tokenizer, options.pop('token_size', (16, 24)), options.pop('crop_scale', (0.2, 0.8)), **options)
    return write_cache(tokenizer, about, str(files / 'images'), files / 'cache', VIEWS)


def dataset(files, **options):
    arguments = dict(
        data_root=str(files / 'images'), cache=str(files / 'cache'), tokenizer=str(files / 'tokenizer.pth')
    )
    return CachedTokenImages(**{**arguments, 'crop_size': (32, 48), 'token_size': (16, 24), **options})


def test_cache__ids_are_those_computed_live(files):
    assert make(files) == 6
    tokenizer, found = small_tokenizer(), dataset(files)
    served = set()
    for index, path in enumerate(UnlabelledImages(str(files / 'images')).paths):
        image = Image.open(path.decode())
        expected = []
        for top, left, h, w, mirrored in np.load(files / 'cache' / 'views.npy')[index].tolist():
            assert 0.15 < h * w / (image.width * image.height) < 0.85
            crop = image.crop((left, top, left + w, top + h))
            small = np.array(crop.resize((24, 16), Image.Resampling.LANCZOS))
            large = np.array(crop.resize((48, 32), Image.Resampling.BICUBIC)).astype(int)
            if mirrored:
                small, large = small[:, ::-1], large[:, ::-1]
            pixels = torch.from_numpy(small.copy()).permute(2, 0, 1).float() / 255
            expected.append((tokenizer.encode(pixels[None])[0], large.transpose(2, 0, 1)))
        for _ in range(12):
            item = found[index]
            assert (item['token_ids'].dtype, item['inputs'].dtype) == (torch.int64, torch.uint8)
            # On noise, Pillow and PyTorch differ where bicubic weights overshoot.
            matches = [
                torch.equal(item['token_ids'], ids) and np.abs(item['inputs'].numpy() - pixels).mean() < 0.5
                for ids, pixels in expected
            ]
            assert sum(matches) == 1
            served.add((index, matches.index(True)))
    # Of 6 x 5 views, 12 draws each miss few.
    assert len(served) > 20


def test_cache__mirrors_and_differs_between_images(files):
    make(files)
    views = np.load(files / 'cache' / 'views.npy').reshape(-1, 5)
    assert 0.2 < views[:, 4].mean() < 0.8
    assert len(np.unique(views, axis=0)) == 6 * VIEWS


def test_cache__seed_and_scale_change_the_views(files):
    drawn = []
    for options in (dict(), dict(), dict(seed=1), dict(crop_scale=(0.6, 0.7))):
        make(files, **options)
        drawn.append(np.load(files / 'cache' / 'views.npy'))
        for file in (files / 'cache').iterdir():
            file.unlink()
    same, again, *others = drawn
    assert np.array_equal(same, again)
    assert not any(np.array_equal(same, other) for other in others)
    assert (others[1][..., 2] * others[1][..., 3]).min() > 0.55 * 1500


def test_draw_views__as_the_live_dataset_draws(files):
    """The same generator gives the box and the mirroring that `UnlabelledImages` would take."""
    data = UnlabelledImages(str(files / 'images'), crop_size=(32, 48), crop_scale=(0.2, 0.8))
    image = torch.from_numpy(np.array(Image.open(data.paths[0].decode()))).permute(2, 0, 1)
    torch.manual_seed(4)
    live = data[0]['inputs']
    (view,) = draw_views((40, 60), 1, (0.2, 0.8), torch.Generator().manual_seed(4))
    top, left, h, w, mirrored = view
    crop = image[None, :, top : top + h, left : left + w].float()
    expected = torch.nn.functional.interpolate(crop, size=(32, 48), mode='bicubic', antialias=True)[0]
    expected = expected.clamp(0, 255).flip(2) if mirrored else expected.clamp(0, 255)
    assert (expected - live).abs().max() <= 1


def test_cache__number_of_workers_changes_nothing(files):
    tokenizer = small_tokenizer()
    about = describe(tokenizer, 16, (0.2, 1.0))
    for workers in (0, 2):
        write_cache(tokenizer, about, str(files / 'images'), files / f'cache{workers}', 2, workers)
    for name in ('ids', 'views', 'sizes', 'paths'):
        alone, shared = (np.load(files / f'cache{workers}' / f'{name}.npy') for workers in (0, 2))
        assert np.array_equal(alone, shared)
    assert alone.dtype.kind == 'S' and np.load(files / 'cache0' / 'ids.npy').dtype == np.uint16


def test_cache__may_move_with_its_images(files):
    make(files)
    (files / 'images').rename(files / 'moved')
    assert len(dataset(files, data_root=str(files / 'moved'))) == 6


def test_cache__unreadable_images_are_left_out(files):
    (files / 'images' / '002.png').write_bytes(b'broken')
    with pytest.warns(UserWarning, match=r'002\.png cannot be decoded.*left out'):
        assert make(files) == 5
    found = dataset(files)
    assert len(found) == 5
    names = [os.path.basename(os.fsdecode(path)) for path in found.paths]
    assert names == ['000.png', '001.png', '003.png', '000.png', '001.png']
    for index, path in enumerate(found.paths):
        served = [found[index]['token_ids'] for _ in range(3)]
        image = read_tensor(os.fsdecode(path))
        views = np.load(files / 'cache' / 'views.npy')[found.rows[index]]
        pixels = torch.stack([cut_view(image, view, (16, 24), resize_lanczos) for view in views])
        own = small_tokenizer().encode(pixels / 255)
        assert all(any(torch.equal(ids, each) for each in own) for ids in served)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(token_size=16), r'views of \(16, 24\) pixels, and token_size=\(16, 16\)'),
        (dict(crop_size=32), r'crop_size=\(32, 32\) has not the shape'),
        (dict(cache='elsewhere'), 'elsewhere holds no token cache'),
    ],
)
def test_cache__that_does_not_fit_is_refused(files, options, message):
    make(files)
    with pytest.raises(ValueError, match=message):
        dataset(files, **options)


def test_cache__of_another_tokenizer(files):
    make(files, small_tokenizer(seed=1))
    with pytest.raises(ValueError, match=r'another tokenizer than .*tokenizer\.pth'):
        dataset(files)


def test_cache__of_other_images(files):
    make(files)
    (files / 'images' / '001.png').rename(files / 'images' / '009.png')
    with pytest.raises(ValueError, match='was made of other images'):
        dataset(files)


def test_cache__of_a_changed_image(files):
    make(files)
    found = dataset(files)
    write_images(files / 'images', 1, size=(41, 60))
    with pytest.raises(ValueError, match=r'000\.png has changed since'):
        found[0]
    assert found[1]['inputs'].shape == (3, 32, 48)


def test_cache__cut_short(files):
    make(files)
    (files / 'cache' / 'about.json').unlink()
    with pytest.raises(ValueError, match='or one that was cut short'):
        dataset(files)


def test_write_cache__mistakes(files):
    tokenizer = small_tokenizer()
    about = describe(tokenizer, 16, (0.2, 1.0))
    with pytest.raises(ValueError, match='images is not empty'):
        write_cache(tokenizer, about, str(files / 'images'), files / 'images', 2)
    with pytest.raises(ValueError, match='views=0'):
        write_cache(tokenizer, about, str(files / 'images'), files / 'cache', 0)
    with pytest.raises(ValueError, match='token_size=18 is not made of whole codes of 4'):
        describe(tokenizer, 18, (0.2, 1.0))
    with pytest.raises(ValueError, match=r'crop_scale=\(0.0, 1.0\)'):
        describe(tokenizer, 16, (0.0, 1.0))


def test_about__records_what_the_views_were(files):
    make(files, seed=3)
    about = json.loads((files / 'cache' / 'about.json').read_text())
    expected = dict(vocab_size=32, token_size=[16, 24], crop_scale=[0.2, 0.8], seed=3, file='')
    assert about == {'tokenizer': small_tokenizer().fingerprint(), **expected}


def test_dataset__is_registered(files):
    make(files)
    built = DATASETS.build(
        dict(
            type='CachedTokenImages',
            data_root=[str(files / 'images')],
            cache=str(files / 'cache'),
            tokenizer=str(files / 'tokenizer.pth'),
            crop_size=(64, 96),
            token_size=(16, 24),
        )
    )
    # The same draw of a view, here at twice the size.
    plain = dataset(files)
    torch.manual_seed(2)
    large = built[3]
    torch.manual_seed(2)
    expected = plain[3]
    assert large['inputs'].shape == (3, 64, 96)
    assert torch.equal(large['token_ids'], expected['token_ids'])
    halved = torch.nn.functional.avg_pool2d(large['inputs'].float(), 2)
    assert (halved - expected['inputs']).abs().mean() < 8
    assert large['inputs'].float().std() > 20


class CutShort(DiscreteVAE):
    """Stops after some calls, as a job at the end of its time."""

    def encode(self, images):
        self.calls = getattr(self, 'calls', 0) + 1
        if self.calls > 2:
            raise KeyboardInterrupt
        return super().encode(images)


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_cache__goes_on_where_it_was_cut_short(files, monkeypatch):
    """The files of one that was made at a stretch, and no image is encoded twice."""
    monkeypatch.setattr('pretrain.tokenizer.cache_write.BATCH', VIEWS)
    tokenizer = small_tokenizer()
    about = describe(tokenizer, (16, 24), (0.2, 0.8))
    images, out = str(files / 'images'), files / 'part'
    write_cache(tokenizer, about, images, files / 'whole', VIEWS)
    tokenizer.__class__ = CutShort
    with pytest.raises(KeyboardInterrupt):
        write_cache(tokenizer, about, images, out, VIEWS)
    with pytest.raises(ValueError, match='or one that was cut short'):
        dataset(files, cache=str(out))
    with pytest.raises(ValueError, match='holds the beginning of another cache'):
        write_cache(tokenizer, about, images, out, VIEWS + 1)
    with pytest.raises(ValueError, match='holds the beginning of another cache'):
        write_cache(tokenizer, replace(about, seed=5), images, out, VIEWS)
    tokenizer.__class__, seen = DiscreteVAE, []
    tokenizer.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    assert write_cache(tokenizer, about, images, out, VIEWS) == 6
    assert sum(seen) == (6 - 2) * VIEWS
    assert contents(out) == contents(files / 'whole')
    with pytest.raises(ValueError, match='is not empty'):
        write_cache(tokenizer, about, images, out, VIEWS)


def test_cache__several_images_go_through_the_tokenizer_at_once(files):
    tokenizer, seen = small_tokenizer(), []
    tokenizer.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    make(files, tokenizer)
    assert seen == [6 * VIEWS]


def test_cache__same_file_is_not_loaded(files, monkeypatch):
    """Only its bytes are compared; another file of the same weights is loaded, and one of others refused."""
    path = files / 'tokenizer.pth'
    tokenizer = small_tokenizer()
    about = replace(describe(tokenizer, (16, 24), (0.2, 0.8)), file=file_digest(path))
    write_cache(tokenizer, about, str(files / 'images'), files / 'cache', VIEWS)
    loaded = []
    load = torch.load
    monkeypatch.setattr(torch, 'load', lambda file, *args, **kwargs: loaded.append(file) or load(file, *args, **kwargs))
    assert len(dataset(files)) == 6
    assert loaded == []
    torch.save({'model': tokenizer.state_dict()}, files / 'copy.pth')
    assert len(dataset(files, tokenizer=str(files / 'copy.pth'))) == 6
    assert len(loaded) == 1
    torch.save(small_tokenizer(seed=1).state_dict(), path)
    with pytest.raises(ValueError, match='another tokenizer'):
        dataset(files)


def test_cache__image_that_breaks_later_gives_way_to_the_next(files):
    make(files)
    found = dataset(files)
    (files / 'images' / '001.png').write_bytes(b'broken')
    with pytest.warns(UserWarning, match=r'001\.png .*the next image takes its place'):
        item = found[1]
    rows = np.load(files / 'cache' / 'ids.npy')[2]
    assert any(np.array_equal(item['token_ids'], row) for row in rows)
