"""What shells need to complete."""

import shutil
import subprocess

import pytest

from backbones.console.places import config_files
from downstream.cli.completion import main, whole_parser
from downstream.cli.main import COMMANDS


@pytest.mark.parametrize('shell', ['bash', 'zsh'])
def test_main__commands_flags_and_configs(shell, capsys, tmp_path):
    main([shell])
    script = capsys.readouterr().out
    for word in (*COMMANDS, '--data-root', 'mask_rcnn_vitdet_base', '--gpu-memory'):
        assert word in script, word
    if shutil.which(shell):
        (tmp_path / 'script').write_text(script)
        checked = subprocess.run([shell, '-n', str(tmp_path / 'script')], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


def test_whole_parser__knows_what_the_commands_take():
    parser = whole_parser()
    args = parser.parse_args(['train', 'mae_tiny', '--data-root', 'DIR', '--epochs', '3'])
    assert (args.config, args.epochs) == ('mae_tiny', 3)
    assert parser.parse_args(['plan', 'mae_tiny', '--gpu-memory', '24']).gpu_memory == 24
    with pytest.raises(SystemExit):
        parser.parse_args(['train', 'no_such_config'])
    assert 'mae_tiny' in config_files()
