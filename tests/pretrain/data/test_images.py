"""Reading images: Pillow is the oracle. Tolerances in grey levels: 0 unless stated."""

import io
import os
import shutil
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from pretrain.data.images import find_images, find_training_images, read_image
from tests.datasets import write_bands

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


def test_find_images__every_suffix_in_any_case_and_the_rest_counted(tmp_path):
    for name in ('a.bmp', 'b.BMP', 'c.Tif', 'd.heic', 'e.HEIC', 'notes', '.hidden.jpg'):
        (tmp_path / name).touch()
    with pytest.warns(UserWarning, match=r'3 files are no images and are left out: 2 \.heic, 1 without suffix'):
        found = find_images(tmp_path)
    assert [os.path.basename(path) for path in found] == ['a.bmp', 'b.BMP', 'c.Tif']


def test_find_images__links_in_circles_and_twice_count_once(tmp_path):
    make_tree(tmp_path / 'set')
    (tmp_path / 'set/a/circle').symlink_to(tmp_path / 'set')
    (tmp_path / 'set/again.png').symlink_to(tmp_path / 'set/a/deep/er/c.png')
    (tmp_path / 'set/lost.png').symlink_to(tmp_path / 'nowhere.png')
    (tmp_path / 'set/itself.png').symlink_to(tmp_path / 'set/itself.png')
    os.mkfifo(tmp_path / 'set/pipe.jpg')
    with pytest.warns(UserWarning) as told:
        found = find_images([tmp_path / 'set', tmp_path / 'set/a'])
    assert [os.path.basename(path) for path in found] == ['d.webp', 'c.png', 'b.JPG', 'e.tiff', 'f.tif', 'g.jpeg']
    text = '\n'.join(str(warning.message) for warning in told)
    assert '1 links lead to images that are listed already' in text
    assert 'reached more than once, and counted once' in text
    assert '3 are no files that can be read' in text


def test_find_images__inner_directory_first(tmp_path):
    make_tree(tmp_path)
    found = find_images([tmp_path / 'a', tmp_path])
    assert len(found) == len(set(found)) == 6


def test_find_images__closed_directory_is_named(tmp_path, monkeypatch):
    make_tree(tmp_path)
    scandir = os.scandir

    # A superuser, as whom the tests may run, is refused nothing.
    def refuse(place):
        if str(place).endswith('deep'):
            raise PermissionError(13, 'Permission denied')
        return scandir(place)

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.warns(UserWarning, match=r'1 directories cannot be read: .*deep \(Permission denied\)'):
        assert len(find_images(tmp_path)) == 5


def test_find_training_images__at_any_depth(tmp_path):
    for place in ('north/train', 'north/test', 'south/images', 'south/masks', 'both/bullet train', 'both/test tube'):
        make_tree(tmp_path / place)
    with pytest.warns(UserWarning, match=r'not for training, left out: .*north/test, .*south/masks'):
        found = find_training_images(tmp_path)
    places = {os.path.relpath(path, tmp_path).rsplit('/', 1)[0] for path in found if path.endswith('b.JPG')}
    assert places == {'north/train', 'south/images', 'both/bullet train', 'both/test tube'}
    with pytest.warns(UserWarning, match='no images'):
        assert len(find_training_images(tmp_path / 'north/test')) == 6


CUT = {
    'jpg': dict(quality=90),
    'progressive.jpg': dict(quality=90, progressive=True),
    'png': {},
    'bmp': {},
    'webp': dict(lossless=True),
    'tif': {},
    'lzw.tif': dict(compression='tiff_lzw'),
}


@pytest.mark.filterwarnings('ignore:Corrupt EXIF', 'ignore:Truncated File')
@pytest.mark.parametrize('kind', sorted(CUT))
@pytest.mark.parametrize('share', [0.02, 0.5, 0.98])
def test_read_image__cut_file_is_refused(tmp_path, kind, share):
    path = tmp_path / f'a.{kind}'
    Image.fromarray(scene()).save(path, **CUT[kind])
    assert error(path) <= 4  # whole, it is read; two JPEG decoders differ by a few levels
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf'a\.{kind} cannot be'):
        read_image(path)


@pytest.mark.parametrize('progressive', [False, True])
def test_read_image__jpeg_ends_at_its_marker(tmp_path, progressive):
    thumbnail, path = io.BytesIO(), tmp_path / 'a.jpg'
    Image.fromarray(scene()).save(thumbnail, 'JPEG')
    exif = b'Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0' + thumbnail.getvalue()
    Image.fromarray(scene()).save(path, exif=exif, progressive=progressive)
    whole, pixels = path.read_bytes(), read_image(path)
    path.write_bytes(whole + b'\0' * 500 + b'maker notes')
    assert np.array_equal(read_image(path), pixels)
    for tail in (b'', b'\0' * 4000):
        path.write_bytes(whole[: -len(whole) // 8] + tail)
        with pytest.raises(ValueError, match=r'a\.jpg cannot be decoded: it is cut short'):
            read_image(path)


def test_read_image__special_files_do_not_wait(tmp_path):
    os.mkfifo(tmp_path / 'pipe.jpg')
    with pytest.raises(ValueError, match=r'pipe\.jpg cannot be read: it is a pipe'):
        read_image(tmp_path / 'pipe.jpg')
    with pytest.raises(ValueError, match='cannot be read: it is a directory'):
        read_image(tmp_path)
    with pytest.raises(ValueError, match=r'absent\.jpg cannot be read: there is no such file'):
        read_image(tmp_path / 'absent.jpg')


def test_read_image__name_that_is_no_utf8(tmp_path):
    Image.fromarray(scene()).save(tmp_path / 'a.png')
    odd = os.path.join(os.fsencode(tmp_path), b'caf\xe9.png')
    os.rename(tmp_path / 'a.png', odd)
    assert find_images(tmp_path) == [os.fsdecode(odd)]
    assert np.array_equal(read_image(os.fsdecode(odd)), scene())
    with open(odd, 'wb') as file:
        file.write(b'broken')
    with pytest.raises(ValueError, match=r'caf\\xe9\.png cannot be') as caught:
        read_image(os.fsdecode(odd))
    str(caught.value).encode('utf-8')  # a log can hold it


def bomb(path, side):
    """A PNG that claims to be very large."""
    header = struct.pack('>IIBBBBB', side, side, 1, 0, 0, 0, 0)
    chunks = b''.join(
        struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
        for kind, body in ((b'IHDR', header), (b'IDAT', zlib.compress(b'\0' * 100)), (b'IEND', b''))
    )
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunks)


@pytest.mark.parametrize('side', [30_000, 65_000])
def test_read_image__bomb_is_refused_before_it_is_decoded(tmp_path, side):
    bomb(tmp_path / 'a.png', side)
    with pytest.raises(ValueError, match=rf'a\.png cannot be read: {side} x {side} pixels are too many'):
        read_image(tmp_path / 'a.png')


def test_read_image__bands_are_counted(tmp_path):
    write_bands(tmp_path / 'a.tif', 4, 4, 5)
    with pytest.raises(ValueError, match=r'a\.tif cannot be read: it has 5 bands, and 1, 3 or 4 can be read'):
        read_image(tmp_path / 'a.tif')


def test_read_image__twelve_bits_in_sixteen(tmp_path):
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    cv2.imwrite(str(tmp_path / 'a.png'), values)
    with pytest.warns(UserWarning, match=r'12 bits only: 0 to 4095 of 65535, which become 0 to 15 of 255'):
        assert read_image(tmp_path / 'a.png').max() == 15
    pixels = read_image(tmp_path / 'a.png', (0, 4095))
    assert np.array_equal(pixels[..., 0], np.round(values / 4095 * 255))
    # Values outside the range become black and white.
    assert read_image(tmp_path / 'a.png', (1000, 2000))[..., 1].ravel()[[0, 1000, 1500, 2000, 4095]].tolist() == [
        0,
        0,
        128,
        255,
        255,
    ]


def test_read_image__cielab_within_its_steps(tmp_path):
    srgb, lab = ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB')
    soft = Image.fromarray((60 + scene() // 3).astype(np.uint8))  # inside what 8-bit CIELAB can hold
    ImageCms.profileToProfile(soft, srgb, lab, outputMode='LAB').save(tmp_path / 'a.tif')
    distance = np.abs(read_image(tmp_path / 'a.tif').astype(int) - np.asarray(soft))
    assert distance.mean() <= 1
    assert distance.max() <= 5  # whole numbers of a and b are steps of up to that in sRGB
