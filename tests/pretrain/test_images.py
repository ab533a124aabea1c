"""Reading images: Pillow is the oracle. Tolerances in grey levels: 0 unless stated."""

import os
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from pretrain.images import find_images, read_image

HEIGHT, WIDTH = 40, 56


def scene():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([4 * x, 5 * y, 2 * (x + y)], axis=-1).astype(np.uint8)


def ramp():
    """Values 0 .. 255 from left to right, for alpha and masks."""
    return Image.fromarray(np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1)))


def with_alpha():
    image = Image.fromarray(scene())
    image.putalpha(ramp())
    return image


def seen_by_pillow(path):
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert('RGB')).astype(int)


def error(path):
    ours, theirs = read_image(path).astype(int), seen_by_pillow(path)
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max()


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'tif'])
@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_read_image__colour_and_grey(tmp_path, suffix, mode):
    path = tmp_path / f'a.{suffix}'
    Image.fromarray(scene()).convert(mode).save(path)
    pixels = read_image(path)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert pixels.dtype == np.uint8
    assert error(path) == 0


@pytest.mark.parametrize(('suffix', 'mode'), [('png', 'P'), ('tif', 'P'), ('png', '1'), ('tif', '1'), ('tif', 'CMYK')])
def test_read_image__palette_bilevel_cmyk(tmp_path, suffix, mode):
    path = tmp_path / f'a.{suffix}'
    Image.fromarray(scene()).convert(mode).save(path)
    assert error(path) == 0


def test_read_image__cmyk_jpeg_within_one_level(tmp_path):
    Image.fromarray(scene()).convert('CMYK').save(tmp_path / 'a.jpg', quality=95)
    assert error(tmp_path / 'a.jpg') <= 1


@pytest.mark.parametrize('suffix', ['png', 'webp', 'tif'])
def test_read_image__alpha_is_dropped_and_not_blended(tmp_path, suffix):
    path = tmp_path / f'a.{suffix}'
    with_alpha().save(path, **(dict(lossless=True, exact=True) if suffix == 'webp' else {}))
    assert np.array_equal(read_image(path), scene())


@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_read_image__grey_with_alpha(tmp_path, suffix):
    with_alpha().convert('LA').save(tmp_path / f'a.{suffix}')
    assert error(tmp_path / f'a.{suffix}') == 0


def test_read_image__palette_with_transparency(tmp_path):
    Image.fromarray(scene()).convert('P').save(tmp_path / 'a.png', transparency=3)
    assert error(tmp_path / 'a.png') == 0


@pytest.mark.parametrize('suffix', ['png', 'tif'])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_read_image__16_bit_scaled_over_the_whole_range_within_one_level(tmp_path, suffix, channels):
    deep = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, channels), dtype=np.uint16)
    deep[0, 0], deep[0, 1] = 0, 65535
    # OpenCV writes BGR; four channels are BGR and alpha.
    assert cv2.imwrite(str(tmp_path / f'a.{suffix}'), deep)
    expected = np.repeat(deep, 3, axis=2) if channels == 1 else deep[:, :, 2::-1]
    pixels = read_image(tmp_path / f'a.{suffix}')
    assert np.abs(pixels - expected / 257).max() <= 1
    assert pixels[0, :2, 0].tolist() == [0, 255]


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'tif'])
def test_read_image__turned_as_exif_says(tmp_path, suffix, orientation):
    path = tmp_path / f'a.{suffix}'
    tags = Image.Exif()
    tags[274] = orientation
    Image.fromarray(scene()).save(path, **({'tiffinfo': tags} if suffix == 'tif' else {'exif': tags}))
    assert read_image(path).shape[:2] == ((WIDTH, HEIGHT) if orientation >= 5 else (HEIGHT, WIDTH))
    assert error(path) == 0


@pytest.mark.filterwarnings('ignore:Corrupt EXIF')
@pytest.mark.parametrize('content', [b'', b'no image', b'\xff\xd8\xff\xe0 broken', b'II*\x00 broken'])
@pytest.mark.parametrize('suffix', ['jpg', 'tif'])
def test_read_image__broken_file_is_named(tmp_path, suffix, content):
    (tmp_path / f'bad.{suffix}').write_bytes(content)
    with pytest.raises(ValueError, match=rf'bad\.{suffix} cannot be'):
        read_image(tmp_path / f'bad.{suffix}')


def test_read_image__float_tiff_is_refused(tmp_path):
    Image.fromarray(np.random.default_rng(0).random((8, 8), dtype=np.float32)).save(tmp_path / 'a.tif')
    with pytest.raises(ValueError, match='32-bit pixels have no known range'):
        read_image(tmp_path / 'a.tif')


def test_read_image__real_photos_as_pillow_reads_them(real_data):
    photos = sorted((real_data / 'photos').glob('*.jpg'))[:20]
    # Two JPEG decoders: Pillow's and OpenCV's libjpeg may round differently by a level or two.
    assert len(photos) == 20
    assert max(error(path) for path in photos) <= 3


def make_tree(root):
    for name in ('b.JPG', 'a/deep/er/c.png', 'a/d.webp', 'e.tiff', 'f.tif', 'g.jpeg'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for name in ('notes.txt', 'a/archive.zip', '._b.jpg'):
        (root / name).touch()


def test_find_images__any_depth_sorted_images_only(tmp_path):
    make_tree(tmp_path)
    names = [os.path.relpath(path, tmp_path) for path in find_images(tmp_path)]
    assert names == ['a/d.webp', 'a/deep/er/c.png', 'b.JPG', 'e.tiff', 'f.tif', 'g.jpeg']


def test_find_images__several_directories_in_order(tmp_path):
    make_tree(tmp_path / 'x')
    shutil.copytree(tmp_path / 'x' / 'a', tmp_path / 'w')
    found = find_images([str(tmp_path / 'x'), tmp_path / 'w'])
    assert len(found) == 8
    assert found[6:] == [str(tmp_path / 'w' / 'd.webp'), str(tmp_path / 'w' / 'deep' / 'er' / 'c.png')]


def test_find_images__follows_links(tmp_path):
    make_tree(tmp_path / 'real')
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'train').symlink_to(tmp_path / 'real')
    assert len(find_images(tmp_path / 'data')) == 6


def test_find_images__no_directory(tmp_path):
    with pytest.raises(ValueError, match=r"no directory '.*missing' with images: .* `--data-root DIR`"):
        find_images(tmp_path / 'missing')


def test_find_images__directory_without_images(tmp_path):
    make_tree(tmp_path / 'full')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match=r"no image in '.*empty'.*\.webp"):
        find_images([tmp_path / 'full', tmp_path / 'empty'])
