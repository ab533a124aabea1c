import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pretrain.restore import load_autoencoder
from pretrain.visualize import picture
from tests.pretrain.test_restore import save
from tools.reconstruct import main


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
    assert np.array_equal(written, picture(load_autoencoder(files / 'epoch_1.pth'), images))
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
        ('encoder.pth', 'a.png', 'out.png', 'has no decoder, so it cannot reconstruct'),
        ('missing.pth', 'a.png', 'out.png', 'there is no checkpoint'),
        ('epoch_1.pth', 'missing.png', 'out.png', 'missing.png cannot be decoded'),
        ('epoch_1.pth', 'a.png', 'no/folder/out.png', 'cannot be written'),
        ('epoch_1.pth', 'a.png', 'out.unknown', 'error: '),
    ],
)
def test_reconstruct__mistakes_end_in_one_line(files, capsys, checkpoint, image, out, message):
    encoder = load_autoencoder(files / 'epoch_1.pth').encoder
    torch.save({'model': encoder.state_dict()}, files / 'encoder.pth')
    assert main([str(files / checkpoint), str(files / image), '--out', str(files / out)]) == 2
    assert message in capsys.readouterr().err
    assert not (files / out).exists()
