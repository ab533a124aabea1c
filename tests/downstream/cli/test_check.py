"""A look at config, data and weights before anything is trained."""

import pytest

from backbones.console.errors import UsageError
from downstream.cli.check import main
from tests.datasets import make_ade, make_coco, write_images


def test_main__tells_what_training_would(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_coco(tmp_path / 'coco')
    main(['mask_rcnn_vit_tiny', '--data-root', 'coco', '--pretrained', 'random', '--batch-size', '2', '--iters', '6'])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == 'nothing stands in the way of training'
    assert lines[-3:-1] == ['train: 4 images are read', 'val: 2 images are read']
    assert any('6 updates' in line or 'iteration 6' in line or 'max_iters' in line for line in lines), lines
    assert not list(tmp_path.glob('work_dirs/**/*.pth'))


@pytest.mark.parametrize(('config', 'make', 'count'), [('upernet_vit_tiny', make_ade, 4), ('mae_tiny', None, 5)])
def test_main__counts_images(config, make, count, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if make is None:
        write_images(tmp_path / 'data', range(5))
    else:
        make(tmp_path / 'data')
    main([config, '--data-root', 'data', '--pretrained', 'random'])
    assert f'train: {count} images are read' in capsys.readouterr().out


def test_main__says_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_coco(tmp_path / 'coco')
    with pytest.raises(UsageError, match='Known layouts'):
        main(['upernet_vit_tiny', '--data-root', 'coco', '--pretrained', 'random'])
