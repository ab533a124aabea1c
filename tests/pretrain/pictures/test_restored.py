import numpy as np
import pytest
import torch
from PIL import Image

from pretrain.data.transforms import resize
from pretrain.methods.restore import build_model
from pretrain.pictures.hand_masks import drawn_masks
from pretrain.pictures.restored import GAP, GREY, HEADER, fit_image, footnote, picture, reconstruct
from tests.helpers import randomise
from tests.pretrain.methods.test_restore import configs_of_all, model_config, small_tokenizer


def autoencoder(norm_pix=False):
    model = build_model({**model_config(), 'norm_pix': norm_pix}).eval()
    randomise(model.encoder)
    randomise(model.decoder)
    return model


def images():
    return torch.randint(0, 256, (2, 3, 24, 40), dtype=torch.uint8)


def test_reconstruct__visible_patches_stay_and_holes_are_grey():
    shown = images()
    (_, masked), (_, filled) = reconstruct(autoencoder(), shown)
    for image, before, after in zip(shown, masked, filled, strict=True):
        grey = 0
        for place in range(15):
            row, column = divmod(place, 5)
            box = (slice(None), slice(row * 8, row * 8 + 8), slice(column * 8, column * 8 + 8))
            if (before[box] == GREY).all():
                grey += 1
                assert not torch.equal(after[box], image[box])
            else:
                assert torch.equal(before[box], image[box])
                assert torch.equal(after[box], image[box])
        assert grey == 9


def test_reconstruct__predictions_in_grey_levels():
    model, shown = autoencoder(), images()
    with torch.no_grad():
        model.decoder.pred.weight.zero_()
        # Vectors run over rows, columns, channels: one value per channel.
        model.decoder.pred.bias.copy_(torch.tensor([1.0, 0.5, -1.0]).repeat(64))
    (_, masked), (_, filled) = reconstruct(model, shown)
    holes = (masked != shown).any(dim=1)
    # mean + deviation * value: 120 + 60, 110 + 25, 100 - 40
    assert filled.permute(0, 2, 3, 1)[holes].unique(dim=0).tolist() == [[180, 135, 60]]


def test_reconstruct__normalised_pixels_shown_with_the_patchs_own_statistics():
    model, shown = autoencoder(norm_pix=True), torch.full((2, 3, 24, 40), 90, dtype=torch.uint8)
    shown[:, :, 8:] = 160
    with torch.no_grad():
        model.decoder.pred.weight.zero_()
        model.decoder.pred.bias.zero_()
    (_, masked), (_, filled) = reconstruct(model, shown)
    holes = (masked == GREY).all(dim=1)
    for value, rows in ((90, slice(0, 8)), (160, slice(8, 24))):
        # A pattern of zero is the patch's mean, taken over all channels of the normalised image.
        mean = sum((value - m) / s for m, s in ((120, 60), (110, 50), (100, 40))) / 3
        expected = [round(mean * s + m) for m, s in ((120, 60), (110, 50), (100, 40))]
        pixels = filled[:, :, rows].permute(0, 2, 3, 1)[holes[:, rows]]
        assert pixels.unique(dim=0).tolist() == [expected]


def test_reconstruct__seed_decides_and_leaves_pytorchs_alone():
    model, shown = autoencoder(), images()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (reconstruct(model, shown, seed=seed)[0][1] for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(('height', 'width'), [(30, 200), (200, 30), (24, 40), (9, 15), (25, 41)])
def test_fit_image__covers_the_size_from_the_middle(tmp_path, height, width):
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[height // 3 : -(height // 3), width // 3 : -(width // 3)] = (200, 100, 50)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    image = fit_image(tmp_path / 'a.png', (24, 40))
    assert image.shape == (3, 24, 40)
    assert image.dtype == torch.uint8
    # Bicubic overshoots a little near the frame.
    assert (image[:, 12, 20].int() - torch.tensor([200, 100, 50])).abs().max() <= 4


def test_picture__one_row_per_image_three_columns(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 24, 40, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f'{index}.png')
    model = autoencoder()
    drawn = picture(model, [tmp_path / '0.png', tmp_path / '1.png'])
    assert drawn.shape == (2 * (24 + GAP) + 2 * HEADER, 3 * (40 + GAP), 3)
    top = HEADER + 24 + GAP
    assert np.array_equal(drawn[top : top + 24, :40], pixels[1])
    shown = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    for column, (_, expected) in enumerate(reconstruct(model, shown), start=1):
        tile = drawn[top : top + 24, column * (40 + GAP) :][:, :40]
        assert np.array_equal(tile, expected[1].permute(1, 2, 0).numpy())


def test_picture__headings_and_footnote_are_drawn(tmp_path):
    Image.new('RGB', (40, 24)).save(tmp_path / 'a.png')
    drawn, other = (picture(autoencoder(norm_pix), [tmp_path / 'a.png']) for norm_pix in (False, True))
    assert (drawn[:HEADER] < 128).any()
    assert not np.array_equal(drawn[-HEADER:], other[-HEADER:])


def test_footnote__tells_what_is_borrowed(tmp_path):
    assert 'taken from the original' in footnote(autoencoder(norm_pix=True))
    assert 'original' not in footnote(autoencoder(norm_pix=False))
    small_tokenizer(tmp_path / 't.pth')
    assert 'visual tokens' in footnote(build_model(configs_of_all(tmp_path / 't.pth')[3]))


def test_reconstruct__masks_of_the_callers():
    masks = drawn_masks(2, (3, 5), 'random', [0.4, 0.8], seed=7)
    columns = reconstruct(autoencoder(), images(), masks)
    assert [title for title, _ in columns] == ['masked 40%', 'restored', 'masked 80%', 'restored']
    for (_, shown), mask in zip(columns[::2], masks.values(), strict=True):
        grey = (shown == GREY).all(dim=1)[:, ::8, ::8].flatten(1)
        assert torch.equal(grey, mask)


def test_reconstruct__denoising_shows_the_noise_and_predicts_everywhere():
    model = randomise(build_model(configs_of_all('unused')[1])).eval()
    model.data_preprocessor.mean.fill_(100)
    model.data_preprocessor.std.fill_(40)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.fill_(0.5)
    grey = torch.full((2, 3, 24, 40), 100, dtype=torch.uint8)
    (title, noisy), (_, restored) = reconstruct(model, grey)
    assert title == 'noise of 0.5'
    # 0.5 deviations of 40 levels.
    assert noisy.float().std().item() == pytest.approx(20, rel=0.05)
    assert (restored == 120).all()
    with pytest.raises(ValueError, match='adds noise and hides no patch'):
        reconstruct(model, grey, {'by hand': torch.ones(2, 15, dtype=torch.bool)})


def test_reconstruct__tokens_are_drawn_by_the_tokenizer(tmp_path):
    tokenizer = small_tokenizer(tmp_path / 't.pth')
    model = randomise(build_model(configs_of_all(tmp_path / 't.pth')[3])).eval()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.arange(12) == 7)
    shown = images()
    mask = drawn_masks(2, (3, 5), 'random', [0.4], seed=7)
    (title, limit), _, (_, restored) = reconstruct(model, shown, mask)
    assert title == "the tokenizer's limit"
    # A code per patch of 8: the tokenizer of stride 4 sees half the size.
    small = [Image.fromarray(each.permute(1, 2, 0).numpy()).resize((20, 12), Image.LANCZOS) for each in shown]
    truth = tokenizer.encode(
        torch.stack([torch.from_numpy(np.array(each)) for each in small]).permute(0, 3, 1, 2) / 255
    )
    guess = truth.where(~next(iter(mask.values())).reshape(2, 3, 5), torch.tensor(7))
    for ids, column in ((truth, limit), (guess, restored)):
        drawn = (tokenizer.decode(ids) * 255).round().byte()
        assert torch.equal(column, torch.stack([resize(each, (24, 40)) for each in drawn]))
