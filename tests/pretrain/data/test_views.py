import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from pretrain.data.unlabelled import UnlabelledImages
from pretrain.data.views import ViewMaker, change_colours, jitter_factors, largest_box, reduced_box, resize_lanczos


def gradient(height=60, width=80):
    """Red counts columns, green rows; blue is noise."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    blue = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    return torch.from_numpy(np.stack([columns * 3, rows * 4, blue]))


def draw(seed=0, **options):
    return ViewMaker((32, 48), **options)(gradient(), torch.Generator().manual_seed(seed))


def test_view_maker__centre_is_always_the_same_and_never_mirrored():
    views = [draw(seed, crop='centre')['inputs'] for seed in range(8)]
    assert all(torch.equal(view, views[0]) for view in views)
    # The box is 46.7 x 70 around (30, 40): 3 * 40 columns and 4 * 30 rows in the middle.
    assert views[0][0].float().mean().item() == pytest.approx(3 * 39.5, abs=1.5)
    assert views[0][1].float().mean().item() == pytest.approx(4 * 29.5, abs=2.5)
    assert views[0][0, 0, 0] < views[0][0, 0, -1]


def test_view_maker__fixed_keeps_the_scale_and_moves():
    views = [draw(seed, crop='fixed')['inputs'][0].float() for seed in range(40)]
    spans = [(view.max() - view.min()).item() for view in views]
    # 70 of 80 columns, 3 levels each, whatever the place.
    assert np.ptp(spans) <= 4
    assert min(spans) > 3 * 66 and max(spans) < 3 * 71
    assert len({round(view.mean().item()) for view in views}) > 5
    mirrored = [view[0, 0] > view[0, -1] for view in views]
    assert 8 < sum(mirrored) < 32


def test_view_maker__random_changes_the_scale():
    spans = [np.ptp(draw(seed)['inputs'][0].numpy()) for seed in range(40)]
    assert np.ptp(spans) > 60


def test_view_maker__second_view_is_the_same_crop():
    for seed in range(6):
        views = draw(seed, token_size=(16, 24), color_jitter=0.4)
        assert views['token_inputs'].shape == (3, 16, 24)
        large = views['inputs'][:2].float().reshape(2, 16, 2, 24, 2).mean(dim=(2, 4))
        assert (large - views['token_inputs'][:2].float()).abs().max() < 6


def test_view_maker__without_token_size_there_is_one_view():
    assert draw().keys() == {'inputs'}


def test_view_maker__jitter_changes_colours_not_the_crop():
    plain, coloured = draw(3), draw(3, color_jitter=0.4)
    assert not torch.equal(plain['inputs'], coloured['inputs'])


def test_change_colours__brightness_contrast_saturation_in_order():
    image = gradient()
    generator = torch.Generator().manual_seed(5)
    factors = 1 + 0.4 * (2 * torch.rand(3, generator=torch.Generator().manual_seed(5), dtype=torch.float64) - 1)
    brightness, contrast, saturation = factors.tolist()
    expected = (image.double() * brightness).clamp(0, 255).floor()
    grey = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)

    def luminance(x):
        return (x * grey[:, None, None]).sum(0)

    expected = (contrast * expected + (1 - contrast) * luminance(expected).floor().mean()).clamp(0, 255).floor()
    expected = (saturation * expected + (1 - saturation) * luminance(expected).floor()).clamp(0, 255)
    assert (change_colours(image, jitter_factors(0.4, generator)).double() - expected).abs().max() <= 2


def test_resize_lanczos__is_pillows():
    image = gradient()
    pixels = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).resize((20, 15), Image.LANCZOS)
    assert np.array_equal(resize_lanczos(image, (15, 20)).permute(1, 2, 0).numpy(), np.array(pixels))


@pytest.mark.parametrize(('size', 'ratio', 'box'), [((60, 80), 1.5, (47, 70)), ((80, 40), 1.0, (35, 35))])
def test_largest_box__limited_by_either_side(size, ratio, box):
    assert largest_box(size, ratio, 224 / 256) == box


@pytest.mark.parametrize(
    ('options', 'message'), [({'crop': 'center'}, "crop='center' is unknown"), ({'color_jitter': 1.5}, 'outside 0..1')]
)
def test_view_maker__bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        ViewMaker((8, 8), **options)


def test_dataset__second_view(tmp_path):
    Image.fromarray(gradient().permute(1, 2, 0).contiguous().numpy()).save(tmp_path / 'a.png')
    item = UnlabelledImages(str(tmp_path), crop_size=(32, 48), token_size=(16, 24), crop='centre')[0]
    assert {name: tuple(value.shape) for name, value in item.items()} == {
        'inputs': (3, 32, 48),
        'token_inputs': (3, 16, 24),
    }
    assert UnlabelledImages(str(tmp_path), crop_size=32, token_size=16)[0]['token_inputs'].shape == (3, 16, 16)


def photo_like(height, width, seed=0):
    """Waves, a hard disc and noise: as sharp as photographs are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 17), np.cos(y / 23), np.sin((x + y) / 31)], axis=-1)
    waves[(x - width / 2) ** 2 + (y - height / 3) ** 2 < (height / 4) ** 2] *= -1
    return np.clip(127.5 + 90 * waves + rng.normal(0, 3, waves.shape), 0, 255).astype(np.uint8)


def save_jpeg(path, pixels, orientation=1):
    tags = Image.Exif()
    tags[274] = orientation
    Image.fromarray(pixels).save(path, quality=92, exif=tags)
    return str(path)


def fully_decoded(path, choice, factor, size):
    """Pillow: the whole image, the crop with its edges on multiples of the factor, bicubic with antialiasing."""
    top, left, h, w = choice.box
    edges = [factor * ((edge + factor // 2) // factor) for edge in (left, top, left + w, top + h)]
    with Image.open(path) as image:
        seen = ImageOps.exif_transpose(image).convert('RGB')
    view = np.asarray(seen.crop(edges).resize(size[::-1], Image.BICUBIC)).astype(int)
    return view[:, ::-1] if choice.mirrored else view


@pytest.mark.parametrize('orientation', [1, 3, 6])
@pytest.mark.parametrize(('scale', 'factor'), [((0.05, 0.1), 1), ((0.3, 0.38), 2), ((0.9, 1.0), 4)])
def test_from_file__reduced_decoding_within_one_level(tmp_path, orientation, scale, factor):
    path = save_jpeg(tmp_path / 'a.jpg', photo_like(480, 640), orientation)
    maker = ViewMaker((40, 48), crop_scale=scale)
    seen = (640, 480) if orientation == 6 else (480, 640)
    for seed in range(4):
        view = maker.from_file(path, torch.Generator().manual_seed(seed))['inputs']
        choice = maker.draw(seen, torch.Generator().manual_seed(seed))
        assert maker.reduction(choice.box[2:]) == factor
        expected = fully_decoded(path, choice, factor, (40, 48))
        assert np.abs(view.permute(1, 2, 0).numpy() - expected).mean() < 1


def test_from_file__real_photos_within_one_level_in_the_mean(real_data):
    maker = ViewMaker((64, 80), crop_scale=(0.9, 1.0))
    errors = []
    for index, path in enumerate(sorted((real_data / 'coco' / 'images' / 'val').glob('*.jpg'))[:40]):
        with Image.open(path) as image:
            seen = image.size[::-1]
        choice = maker.draw(seen, torch.Generator().manual_seed(index))
        factor = maker.reduction(choice.box[2:])
        if factor > 1:
            view = maker.from_file(str(path), torch.Generator().manual_seed(index))['inputs']
            expected = fully_decoded(path, choice, factor, (64, 80))
            errors.append(np.abs(view.permute(1, 2, 0).numpy() - expected).mean())
    assert len(errors) > 10
    assert np.mean(errors) < 1
    assert max(errors) < 3


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_from_file__small_crops_and_other_formats_are_decoded_in_full(tmp_path, suffix):
    path = str(tmp_path / f'a.{suffix}')
    Image.fromarray(photo_like(120, 90)).save(path)
    maker = ViewMaker((32, 48), color_jitter=0.4, token_size=(16, 24))
    views = maker.from_file(path, torch.Generator().manual_seed(3))
    whole = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
    expected = maker(whole, torch.Generator().manual_seed(3))
    assert all(torch.equal(views[name], expected[name]) for name in ('inputs', 'token_inputs'))


def test_from_file__jittered_token_view_within_one_level(tmp_path):
    path = save_jpeg(tmp_path / 'a.jpg', photo_like(484, 646))
    maker = ViewMaker((32, 48), crop='centre', color_jitter=0.4, token_size=(16, 24))
    views = maker.from_file(path, torch.Generator().manual_seed(2))
    with Image.open(path) as image:
        whole = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    # The middle box (127, 71, 393, 565) lies on multiples of 4 but for rounding.
    expected = maker(whole, torch.Generator().manual_seed(2))
    for name in ('inputs', 'token_inputs'):
        assert (views[name].float() - expected[name].float()).abs().mean() < 2


@pytest.mark.parametrize(
    ('size', 'token_size', 'factor'),
    [((127, 500), None, 1), ((128, 192), None, 2), ((256, 383), None, 2), ((2000, 2000), None, 8), ((256, 384), 60, 2)],
)
def test_reduction__leaves_twice_the_views(size, token_size, factor):
    maker = ViewMaker((32, 48), token_size=None if token_size is None else (token_size, token_size))
    assert maker.reduction(size) == factor


def test_reduced_box__edges_move_to_the_nearest_border():
    assert reduced_box((5, 6, 100, 101), 4) == (1, 2, 25, 25)
    assert reduced_box((5, 6, 100, 101), 1) == (5, 6, 100, 101)


def test_from_file__broken_jpeg_is_named(tmp_path):
    (tmp_path / 'bad.jpg').write_bytes(b'\xff\xd8\xff\xe0 broken')
    with pytest.raises(ValueError, match=r'bad\.jpg cannot be'):
        ViewMaker((8, 8)).from_file(str(tmp_path / 'bad.jpg'))
