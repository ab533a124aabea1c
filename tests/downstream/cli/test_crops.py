import pytest

from downstream.cli.crops import main


@pytest.mark.slow
def test_make_crops__real_images(real_data, tmp_path, capsys):
    assert main([str(real_data / 'coco'), str(tmp_path / 'out'), '--max-count', '6', '--classes', 'person', 'cup']) == 0
    assert '12 train, 12 val' in capsys.readouterr().out
    assert len(list((tmp_path / 'out' / 'val' / 'cup').glob('*.jpg'))) == 6


def test_make_crops__no_data(tmp_path, capsys):
    assert main([str(tmp_path), str(tmp_path / 'out')]) == 2
    assert capsys.readouterr().err.startswith('error: ')
