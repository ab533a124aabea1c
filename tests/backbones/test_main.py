"""``python -m backbones`` runs scripts and modules that know nothing of us."""

import pytest

from backbones.__main__ import main
from tests.backbones.openmmlab.subprocesses import python


def test_main__script_sees_its_arguments_and_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['unset'])
    monkeypatch.setattr('sys.path', ['unset', *__import__('sys').path])
    (tmp_path / 'beside.py').write_text("VALUE = 'found'\n")
    (tmp_path / 'script.py').write_text(
        'import sys\nimport mmcv.ops\nfrom beside import VALUE\n'
        'print(__name__, VALUE, sys.argv[1:], mmcv.ops.nms.__name__)\n'
    )
    main([str(tmp_path / 'script.py'), '--a', 'b'])
    assert capsys.readouterr().out == "__main__ found ['--a', 'b'] nms\n"


def test_main__module(monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['unset'])
    with pytest.raises(SystemExit, match='0'):
        main(['-m', 'json.tool', '--help'])
    assert 'usage: python -m json.tool' in capsys.readouterr().out


@pytest.mark.parametrize(('argv', 'message'), [([], 'usage'), (['-m'], 'usage'), (['none.py'], 'none.py: there is no')])
def test_main__says_what_is_wrong(argv, message):
    with pytest.raises(SystemExit, match=message):
        main(argv)


@pytest.mark.slow
def test_main__makes_upstream_importable(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text('import mmdet.apis\nprint("imported")\n')
    code = f'import runpy, sys\nsys.argv = ["backbones", {str(script)!r}]\n'
    result = python(code + 'runpy.run_module("backbones", run_name="__main__")')
    assert result.stdout.strip() == 'imported', result.stderr
