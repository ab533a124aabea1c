import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from downstream.benches import data
from downstream.cli.benchmark import run_bench
from pretrain.data.views import ViewMaker


def test_loading__row_and_threads_restored(monkeypatch):
    monkeypatch.delenv('DENSE_MAE_DATA', raising=False)
    monkeypatch.setattr(data, 'DRAWN', ((375, 500), (400, 300)))
    threads = torch.get_num_threads(), cv2.getNumThreads()
    (row,) = run_bench(data.BENCHES[0], 0.2)
    assert (torch.get_num_threads(), cv2.getNumThreads()) == threads
    assert row['measured'] > 0, row
    assert row['target'] == '>= 2.5 x images/s'
    detail = row['detail']
    assert detail['source'] == 'drawn' and detail['images'] == 2
    assert 0 <= detail['mean_difference'] <= detail['largest_difference'] < 1
    assert row['measured'] == pytest.approx(detail['peer']['median_s'] / detail['ours']['median_s'], rel=0.1)


def test_real_files__those_of_about_450_pixels(tmp_path, monkeypatch):
    for name, size in (('small', (200, 150)), ('right', (500, 375)), ('large', (1000, 700))):
        Image.new('RGB', size).save(tmp_path / f'{name}.jpg')
    Image.new('RGB', (500, 375)).save(tmp_path / 'other.png')
    monkeypatch.setenv('DENSE_MAE_DATA', str(tmp_path))
    assert data.real_files() == [str(tmp_path / 'right.jpg')]


def test_differences__another_image_is_not_timed(tmp_path, monkeypatch):
    files = data.write_drawn(tmp_path)[:1]
    monkeypatch.setattr(data, 'peer_view', lambda *_: torch.zeros(3, data.SIDE, data.SIDE))
    with pytest.raises(RuntimeError, match='of 255 for the same crops: not timed'):
        data.differences(files, ViewMaker((data.SIDE, data.SIDE)))


def test_draw_photo__as_smooth_as_photographs():
    pixels = data.draw_photo((90, 120), 1).astype(int)
    assert pixels.shape == (90, 120, 3)
    steps = np.abs(np.diff(pixels, axis=1)).mean()
    assert 2 < steps < pixels.std() / 3
