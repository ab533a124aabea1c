"""The house: arrows point down only, sizes stay small."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Rooms in order; a room imports only from rooms before it.
ALLOWED = {
    'backbones': {'backbones'},
    'pretrain': {'backbones', 'pretrain'},
}
FOREIGN = {'mmdet', 'mmseg', 'tools', 'tests'}


def imported(path):
    """Top-level names of all packages a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            yield node.module.split('.')[0]


@pytest.mark.parametrize('room', sorted(ALLOWED))
def test_imports__point_down_only(room):
    ours = set(ALLOWED) | FOREIGN
    for path in (ROOT / room).rglob('*.py'):
        wrong = (set(imported(path)) & ours) - ALLOWED[room]
        assert not wrong, f'{path.relative_to(ROOT)} imports {wrong}'


def imported_files(path):
    """Files of this repository that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in [node.module] if isinstance(node, ast.ImportFrom) else names:
            if name.split('.')[0] in ALLOWED:
                yield f'{name.replace(".", "/")}.py'


def test_imports__pure_parts_know_only_each_other():
    positions = tuple(f'backbones/{name}.py' for name in ('pos_embed', 'rel_pos', 'rel_pos_table', 'exporting'))
    pure = {*positions, 'pretrain/masking.py', 'pretrain/masking_block.py', 'pretrain/patches.py'}
    for name in pure:
        assert set(imported_files(ROOT / name)) <= pure, name


def test_files__stay_readable():
    for room in (*ALLOWED, 'tools'):
        for path in (ROOT / room).rglob('*.py'):
            assert len(path.read_text().splitlines()) <= 400, path


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_functions__typed_and_short():
    for room in (*ALLOWED, 'tools'):
        for path in (ROOT / room).rglob('*.py'):
            for function in functions(path):
                where = f'{path.relative_to(ROOT)}:{function.lineno} {function.name}'
                arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
                untyped = [a.arg for a in arguments if a.annotation is None and a.arg not in ('self', 'cls')]
                assert not untyped, f'{where}: {untyped} without a type'
                assert function.returns is not None, f'{where}: no return type'
                assert function.end_lineno - function.lineno < 90, f'{where}: too long'


def test_setup_cfg__lists_every_package():
    import configparser

    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    listed = set(parser['options']['packages'].split())
    found = {
        str(path.parent.relative_to(ROOT)).replace('/', '.') for room in ALLOWED for path in (ROOT / room).rglob('*.py')
    }
    assert listed == found
