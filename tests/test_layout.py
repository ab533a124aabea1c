"""The house: arrows point down only, sizes stay small."""

import ast
from graphlib import CycleError, TopologicalSorter
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


def top_level_imports(path):
    """Files of this repository that a file imports when it is imported."""
    for node in ast.parse(path.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module, *(f'{node.module}.{alias.name}' for alias in node.names)]
        yield from (f'{name.replace(".", "/")}.py' for name in names)


def test_imports__pure_parts_know_only_each_other():
    positions = tuple(f'backbones/{name}.py' for name in ('pos_embed', 'rel_pos', 'rel_pos_table', 'exporting'))
    pure = {*positions, 'pretrain/masking/masks.py', 'pretrain/masking/blocks.py', 'pretrain/masking/patches.py'}
    for name in pure:
        assert set(imported_files(ROOT / name)) <= pure, name


def test_files__stay_readable():
    for room in (*ALLOWED, 'tools'):
        for path in (ROOT / room).rglob('*.py'):
            assert len(path.read_text().splitlines()) <= 300, path


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
                assert function.end_lineno - function.lineno < 50, f'{where}: too long'


def test_functions__few_arguments():
    counted = {}
    for room in (*ALLOWED, 'tools'):
        for path in (ROOT / room).rglob('*.py'):
            # mmcv's operators have the arguments that mmcv gives them.
            if path.parent.name != 'openmmlab':
                for function in functions(path):
                    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
                    count = len([each for each in arguments if each.arg not in ('self', 'cls')])
                    counted[f'{path.relative_to(ROOT)} {function.name}'] = count
    # The ViT is told all of its sizes.
    assert counted.pop('backbones/vit/plain_vit.py __init__') <= 18
    assert max(counted.values()) <= 9, [name for name, count in counted.items() if count > 9]


def test_imports__go_round_in_no_circle():
    graph = {
        str(path.relative_to(ROOT)): set(top_level_imports(path))
        for room in ALLOWED
        for path in (ROOT / room).rglob('*.py')
    }
    graph = {name: imports & set(graph) for name, imports in graph.items()}
    assert any(graph.values())
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(' -> '.join(error.args[1]))


def test_setup_cfg__lists_every_package():
    import configparser

    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    listed = set(parser['options']['packages'].split())
    found = {
        str(path.parent.relative_to(ROOT)).replace('/', '.') for room in ALLOWED for path in (ROOT / room).rglob('*.py')
    }
    assert listed == found
