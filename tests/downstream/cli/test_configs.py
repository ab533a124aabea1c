"""The list of configs."""

import pytest

from backbones.console.places import config_files
from downstream.cli.configs import main


def test_main__every_config_with_its_headline(capsys):
    main([])
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines if line.startswith('  ')]
    assert names == list(config_files())
    assert [line for line in lines if not line.startswith('  ')] == [
        'det_configs:',
        'seg_configs:',
        'pretrain/configs:',
    ]
    line = next(line for line in lines if line.split()[0] == 'mask_rcnn_vitdet_base')
    assert 'ViTDet: Mask R-CNN on PlainViT-base' in line


def test_main__words_choose(capsys):
    main(['beit', 'tiny'])
    assert capsys.readouterr().out.splitlines()[0] == 'pretrain/configs:'
    with pytest.raises(ValueError, match='no config has zzz in its name'):
        main(['zzz'])
