"""One command for everything."""

import ast
import re
import subprocess
import sys

import pytest

from downstream.cli.main import COMMANDS, GROUPS, main
from tests.conftest import ROOT

SCRIPTS = sorted((ROOT / 'tools').glob('*.py'))


def test_help__lists_every_command(capsys):
    assert main(['--help']) == 0
    told = capsys.readouterr().out
    assert [*GROUPS] == re.findall(r'^([a-z ]+):$', told, re.M)[:-1]
    for name, summary in COMMANDS.items():
        assert re.search(rf'^  {name} +{re.escape(summary)}$', told, re.M), name
    assert main([]) == 2


def test_commands__every_module_and_nothing_else():
    modules = {path.stem for path in (ROOT / 'downstream/cli').glob('[!_]*.py')} - {'main'}
    assert set(COMMANDS) == modules


@pytest.mark.parametrize('name', COMMANDS)
def test_command__help_has_examples(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, '--help'])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert re.match(rf'usage: dense-mae {name} \[', told)
    assert 'examples:\n  dense-mae ' in told


def test_unknown_command__says_what_is_meant(capsys):
    assert main(['trian']) == 2
    assert (
        capsys.readouterr().err
        == "error: there is no command 'trian'; did you mean train? (dense-mae --help lists them)\n"
    )


def test_command__error_in_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['train', 'no_such_config']) == 2
    told = capsys.readouterr().err
    assert told.startswith('error: config no_such_config: there is no such file') and len(told.splitlines()) == 1


def test_version(capsys):
    assert main(['--version']) == 0
    assert re.fullmatch(r'\d+\.\d+\.\d+\n', capsys.readouterr().out)


def test_help__comes_without_torch():
    code = "from downstream.cli.main import main\nmain(['--help'])\nimport sys\nsys.exit('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0 and 'examples' in ran.stdout, ran.stderr


def test_output__that_nobody_reads_any_more():
    command = f'{sys.executable} -m downstream.cli configs | head -n 1'
    ran = subprocess.run(['bash', '-c', f'set -o pipefail; {command}'], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout == 'det_configs:\n' and ran.stderr == ''


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.stem)
def test_script__is_the_command(script):
    name = re.search(r"run_tool\('(\w+)'\)", script.read_text()).group(1)
    assert f'`dense-mae {name}`' in ast.get_docstring(ast.parse(script.read_text()))
    assert name in COMMANDS


@pytest.mark.slow
def test_script__from_another_folder(tmp_path):
    command = [
        sys.executable,
        str(ROOT / 'tools/make_shapes.py'),
        'drawn',
        '--images',
        '2',
        '--unlabelled',
        '3',
        '--size',
        '32',
    ]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert len(list((tmp_path / 'drawn/unlabelled').glob('*.jpg'))) == 3
    ran = subprocess.run([*command[:2], 'drawn', '--size', '0'], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 2 and ran.stderr.startswith(
        'error: argument --size: 0 is no whole number above zero (make_shapes.py'
    )
