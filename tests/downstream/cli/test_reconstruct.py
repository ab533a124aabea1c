import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from downstream.cli.reconstruct import main
from pretrain.methods.restore import load_model
from pretrain.pictures.restored import picture
from tests.pretrain.methods.test_restore import configs_of_all, save, small_tokenizer
from tests.pretrain.methods.test_restore_published import save_published


@pytest.fixture
def files(tmp_path):
    save(tmp_path / 'epoch_1.pth')
    pixels = np.random.default_rng(0).integers(0, 256, (2, 30, 50, 3), dtype=np.uint8)
    for name, image in zip(('a.png', 'b.jpg'), pixels, strict=True):
        Image.fromarray(image).save(tmp_path / name)
    return tmp_path


def test_reconstruct__writes_the_picture(files, capsys):
    images = [str(files / 'a.png'), str(files / 'b.jpg')]
    assert main([str(files / 'epoch_1.pth'), *images, '--out', str(files / 'out.png')]) == 0
    written = cv2.imread(str(files / 'out.png'))[:, :, ::-1]
    assert np.array_equal(written, picture(load_model(files / 'epoch_1.pth'), images))
    assert 'out.png: 2 images. Predicted: the pixels themselves.' in capsys.readouterr().out


def test_reconstruct__seed_changes_the_masks(files):
    drawn = []
    for seed in ('0', '1'):
        command = [str(files / 'epoch_1.pth'), str(files / 'a.png'), '--out', str(files / 'out.png'), '--seed', seed]
        assert main(command) == 0
        drawn.append(cv2.imread(str(files / 'out.png')))
    assert not np.array_equal(*drawn)


@pytest.mark.parametrize(
    ('checkpoint', 'image', 'out', 'message'),
    [
        ('encoder.pth', 'a.png', 'out.png', 'has no decoder or head, so it cannot reconstruct'),
        ('missing.pth', 'a.png', 'out.png', 'there is no checkpoint'),
        ('epoch_1.pth', 'missing.png', 'out.png', 'missing.png: there is no such file'),
        ('epoch_1.pth', 'a.png', 'no/folder/out.png', 'cannot be written'),
        ('epoch_1.pth', '.', 'out.png', 'is a directory: give image files'),
        ('epoch_1.pth', 'a.png', '.', 'is a directory: give the name of a picture in it'),
        ('epoch_1.pth', 'a.png', 'out', 'its name has to end in .png'),
        ('epoch_1.pth', 'a.png', 'out.unknown', 'its name has to end in .png'),
    ],
)
def test_reconstruct__mistakes_end_in_one_line(files, capsys, checkpoint, image, out, message):
    encoder = load_model(files / 'epoch_1.pth').encoder
    torch.save({'model': encoder.state_dict()}, files / 'encoder.pth')
    assert main([str(files / checkpoint), str(files / image), '--out', str(files / out)]) == 2
    assert message in capsys.readouterr().err
    assert not (files / out).is_file()


def draw(files, checkpoint, *options):
    command = [str(files / checkpoint), str(files / 'a.png'), '--out', str(files / 'out.png'), *options]
    assert main(command) == 0
    return cv2.imread(str(files / 'out.png'))


def test_reconstruct__ratios_side_by_side(files):
    one, three = (draw(files, 'epoch_1.pth', '--mask-ratio', *ratios) for ratios in (['0.6'], ['0.6', '0.7', '0.8']))
    assert three.shape[1] == one.shape[1] // 3 * 7
    assert np.array_equal(three[28:52, :40], one[28:52, :40])
    grey = [(three[28:52, 44 * column : 44 * column + 40] == 127).all(axis=2).sum() // 64 for column in (1, 3, 5)]
    assert grey == [9, 10, 12]


def test_reconstruct__mask_kind_changes_the_mask(files):
    drawn = [draw(files, 'epoch_1.pth', '--mask-kind', kind) for kind in ('random', 'block', 'grid')]
    assert not np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[1], drawn[2])


def test_reconstruct__mask_by_hand_alone_or_beside_a_ratio(files):
    (files / 'm.txt').write_text('##...\n##...\n.....\n')
    alone = draw(files, 'epoch_1.pth', '--mask', str(files / 'm.txt'))
    assert alone.shape[1] == 3 * 44
    hidden = (alone[28:52, 44:84] == 127).all(axis=2)
    assert hidden[:16, :16].all() and hidden.sum() == 256
    assert draw(files, 'epoch_1.pth', '--mask', str(files / 'm.txt'), '--mask-ratio', '0.5').shape[1] == 5 * 44


def test_reconstruct__tokenizer_moved(files, capsys):
    small_tokenizer(files / 'tokenizer.pth')
    save(files / 'beit.pth', made=configs_of_all(files / 'tokenizer.pth')[3])
    expected = draw(files, 'beit.pth')
    (files / 'tokenizer.pth').rename(files / 'moved.pth')
    assert np.array_equal(draw(files, 'beit.pth', '--tokenizer', str(files / 'moved.pth')), expected)
    assert 'visual tokens' in capsys.readouterr().out


def test_reconstruct__target_of_a_published_file(files, capsys):
    save_published(files / 'published.pth')
    pixels, patterns = (draw(files, 'published.pth', '--target', target) for target in ('pixels', 'normalised'))
    assert not np.array_equal(pixels, patterns)
    printed = capsys.readouterr().out
    assert 'the pixels themselves' in printed and 'taken from the original' in printed


@pytest.mark.parametrize(
    ('checkpoint', 'options', 'message'),
    [
        ('dae.pth', ['--mask-ratio', '0.5'], 'adds noise and hides no patch'),
        ('published.pth', [], 'does not tell what it predicts: say so by --target'),
        ('epoch_1.pth', ['--target', 'pixels'], 'is no published MAE'),
        ('published.pth', ['--target', 'pixels', '--tokenizer', 'x'], 'give one of the two'),
        ('epoch_1.pth', ['--mask-ratio', '0.01'], 'mask ratio 0.01 masks 0 of 15'),
        ('epoch_1.pth', ['--mask', 'missing.txt'], 'missing.txt'),
    ],
)
def test_reconstruct__options_that_do_not_fit(files, capsys, checkpoint, options, message):
    save(files / 'dae.pth', made=configs_of_all('unused')[1])
    save_published(files / 'published.pth')
    assert main([str(files / checkpoint), str(files / 'a.png'), '--out', str(files / 'out.png'), *options]) == 2
    assert message in capsys.readouterr().err
