import numpy as np
import pytest
import torch
from PIL import Image

from pretrain.data import UnlabelledImages
from pretrain.views import ViewMaker, jitter, largest_box, resize_lanczos


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


def test_jitter__brightness_contrast_saturation_in_order():
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
    assert (jitter(image, 0.4, generator).double() - expected).abs().max() <= 2


def test_jitter__strength_zero_is_no_option_of_the_view():
    image = gradient()
    assert torch.equal(jitter(image, 0.0), image)


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
