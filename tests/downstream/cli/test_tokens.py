import cv2
import numpy as np
import pytest
import torch

from downstream.cli.tokens import main
from pretrain.tokenizer.cache import CachedTokenImages
from tests.pretrain.data.test_unlabelled import write_images
from tests.pretrain.tokenizer.test_cache import small_tokenizer


@pytest.fixture
def files(tmp_path):
    write_images(tmp_path / 'images', 3, size=(40, 60))
    torch.save(small_tokenizer().state_dict(), tmp_path / 'tokenizer.pth')
    return tmp_path


def test_reconstruct__draws_pairs_and_counts_codes(files, capsys):
    images = [str(files / 'images' / f'{index:03}.png') for index in range(3)]
    command = ['reconstruct', str(files / 'tokenizer.pth'), *images, '--size', '32', '--out', str(files / 'out.png')]
    assert main(command) == 0
    tokenizer = small_tokenizer()
    written = cv2.imread(str(files / 'out.png'))[:, :, ::-1]
    seen = set()
    for index in range(3):
        # Heading, gaps of 4 behind each pair: the original left, what the tokenizer makes of it right.
        left, right = np.split(written[28:60, index * 68 : index * 68 + 64], 2, axis=1)
        ids = tokenizer.encode(torch.from_numpy(left.copy()).permute(2, 0, 1)[None] / 255)
        expected = (tokenizer.decode(ids)[0].permute(1, 2, 0) * 255).round().numpy()
        assert np.abs(right - expected).max() <= 1
        seen |= set(ids.flatten().tolist())
    assert f'out.png: 3 images. {len(seen)} of 32 codes used ({len(seen) / 32:.0%}) in 192 places' in (
        capsys.readouterr().out
    )


def test_cache__can_be_trained_on(files, capsys):
    command = ['cache', str(files / 'tokenizer.pth'), '--data-root', str(files / 'images'), '--out']
    command += [str(files / 'tokens'), '--size', '16', '--views', '3', '--workers', '0']
    assert main(command) == 0
    assert 'token ids of 3 views of 3 images' in capsys.readouterr().out
    data = CachedTokenImages(
        str(files / 'images'), str(files / 'tokens'), str(files / 'tokenizer.pth'), crop_size=32, token_size=16
    )
    assert data[0]['token_ids'].shape == (4, 4)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['reconstruct', 'missing.pth', 'images/000.png', '--out', 'out.png'], 'there is no checkpoint'),
        (['reconstruct', 'tokenizer.pth', 'missing.png', '--out', 'out.png'], 'missing.png: there is no such file'),
        (['reconstruct', 'tokenizer.pth', 'images/000.png', '--out', 'no/folder/out.png'], 'cannot be written'),
        (['reconstruct', 'tokenizer.pth', 'images/000.png', '--out', 'o.png', '--size', '30'], '30x30 is no'),
        (['cache', 'tokenizer.pth', '--data-root', 'images', '--out', 'images'], 'images is not empty'),
        (['cache', 'tokenizer.pth', '--data-root', 'nowhere', '--out', 'new'], 'nowhere: there is no such directory'),
    ],
)
def test_tokens__mistakes_end_in_one_line(files, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert errors.startswith('error: ')
    assert message in errors
