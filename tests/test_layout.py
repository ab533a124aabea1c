"""The house: who may import whom, rooms and sub-rooms; sizes stay small. docs/architecture.md draws the same table."""

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ('backbones', 'pretrain', 'downstream')
IMAGES, COCO = 'backbones.data.images', 'backbones.data.coco'
DATA, MAPS, POINTING = 'backbones.data', 'backbones.data.label_maps', 'backbones.data.pointing'
OPENMMLAB, REPAIRS = 'backbones.openmmlab', 'backbones.openmmlab.repairs'
# Room -> the rooms it imports from. A file is in the room with the longest name that it begins with.
ROOMS = {
    'backbones.import_hooks': [],
    'backbones.logs': [],
    'backbones.console': [],
    'backbones.vit': [],
    'backbones.pyramid': [],
    'backbones.layer_decay': ['backbones.pyramid'],
    'backbones.checkpoint': ['backbones.logs', 'backbones.vit'],
    'backbones.feature_list': ['backbones.checkpoint', 'backbones.pyramid', 'backbones.vit'],
    IMAGES: [],
    COCO: [IMAGES],
    DATA: [IMAGES, COCO],
    MAPS: [IMAGES, DATA],
    POINTING: [COCO, DATA, MAPS],
    'backbones.openmmlab.operators': [OPENMMLAB],
    'backbones.openmmlab.speedups': [OPENMMLAB],
    REPAIRS: ['backbones.import_hooks', 'backbones.vit', OPENMMLAB],
    OPENMMLAB: [
        'backbones.import_hooks',
        'backbones.vit',
        'backbones.pyramid',
        'backbones.checkpoint',
        'backbones.openmmlab.operators',
        REPAIRS,
    ],
    'backbones.engine.launch': ['backbones.console', 'backbones.vit', 'backbones.checkpoint', POINTING],
    'backbones.engine.schedule': ['backbones.console', POINTING, 'backbones.engine.launch'],
    'backbones.engine.resume': ['backbones.console', 'backbones.checkpoint'],
    'backbones.engine.loops': ['backbones.engine'],
    'backbones.engine': ['backbones.vit', 'backbones.layer_decay', REPAIRS, 'backbones.engine.schedule'],
    'backbones.registration': [OPENMMLAB],
    'backbones': ['backbones.import_hooks', OPENMMLAB],
    'pretrain.data': [IMAGES, COCO, DATA, MAPS, 'backbones.engine'],
    'pretrain.masking': [],
    'pretrain.tokenizer': ['backbones.checkpoint', 'pretrain.data'],
    'pretrain.methods': [
        'backbones.vit',
        'backbones.checkpoint',
        'pretrain.data',
        'pretrain.masking',
        'pretrain.tokenizer',
    ],
    'pretrain.pictures': ['pretrain.data', 'pretrain.masking', 'pretrain.tokenizer', 'pretrain.methods'],
    'pretrain.evaluation': [
        'backbones.vit',
        'backbones.checkpoint',
        REPAIRS,
        'backbones.engine.launch',
        'pretrain.data',
        'pretrain.methods',
    ],
    'pretrain.optimization': ['backbones.engine'],
    'pretrain': [
        'pretrain.data',
        'pretrain.tokenizer',
        'pretrain.methods',
        'pretrain.evaluation',
        'pretrain.optimization',
    ],
}
# The one package that knows everything below it.
TOP = 'downstream'
# Calls from a room to the one above it, inside of functions, with the reason.
UPWARDS = {('backbones/vit/plain_vit.py', 'backbones.checkpoint'): 'PlainViT.from_pretrained'}
# Packages of others that no room below downstream imports, at any place in a file, but for these files.
FOREIGN = {'mmcv', 'mmdet', 'mmseg'}
MMCV_KNOWN = {'backbones/openmmlab/mmcv_version.py', 'backbones/openmmlab/operators/ms_deform_attn.py'}
# The only packages of others that the light rooms import.
LIGHT = {
    'backbones.vit': {'torch', 'numpy', 'scipy'},
    'backbones.pyramid': {'torch'},
    'backbones.layer_decay': {'torch'},
    'backbones.console': set(),
    'backbones.import_hooks': set(),
}


def product_files() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (path for path in (ROOT / package).rglob('*.py') if 'configs' not in path.parts)


FILES = sorted(product_files())


def name_of(path):
    """Dotted name of a module."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def room_of(module):
    fitting = [room for room in (*ROOMS, TOP) if module == room or module.startswith(f'{room}.')]
    return max(fitting, key=len)


def exists(module):
    path = ROOT / module.replace('.', '/')
    return path.is_dir() or path.with_suffix('.py').exists()


def imported(path, top_level=False):
    """Dotted names of all modules that a file imports."""
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative import'
            for alias in node.names:
                whole = f'{node.module}.{alias.name}'
                yield whole if node.module.split('.')[0] in PACKAGES and exists(whole) else node.module


def ours(path, **options):
    return {name for name in imported(path, **options) if name.split('.')[0] in (*PACKAGES, 'tools', 'tests')}


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports__as_the_table_says(path):
    room, where = room_of(name_of(path)), str(path.relative_to(ROOT))
    for name in ours(path):
        assert name.split('.')[0] not in ('tools', 'tests'), f'{where} imports {name}'
        other = room_of(name)
        allowed = other == room or room == TOP or other in ROOMS[room] or (where, other) in UPWARDS
        assert allowed, f'{where}, of {room}, imports {name}, of {other}'


def test_table__says_nothing_that_is_not_so():
    used = {room: set() for room in ROOMS}
    for path in FILES:
        room = room_of(name_of(path))
        if room != TOP:
            used[room] |= {room_of(name) for name in ours(path)} - {room}
    for room, others in ROOMS.items():
        stale = set(others) - used[room]
        assert not stale, f'{room} does not import {stale}'


def test_upwards__inside_of_functions_alone():
    for where, other in UPWARDS:
        path = ROOT / where
        assert other in {room_of(name) for name in ours(path)}
        assert other not in {room_of(name) for name in ours(path, top_level=True)}


def test_imports__packages_of_others():
    for path in FILES:
        room, where = room_of(name_of(path)), str(path.relative_to(ROOT))
        others = {name.split('.')[0] for name in imported(path)} - {*PACKAGES, *sys.stdlib_module_names}
        unwanted = others & FOREIGN if room != TOP else set()
        assert not unwanted - ({'mmcv'} if where in MMCV_KNOWN else set()), f'{where} imports {unwanted}'
        assert others <= LIGHT.get(room, others), f'{where}, of {room}, imports {others - LIGHT[room]}'
    assert set(LIGHT) <= {room_of(name_of(path)) for path in FILES}


def test_imports__go_round_in_no_circle():
    names = {name_of(path): path for path in FILES}
    graph = {name: {other for other in ours(path, top_level=True) if other in names} for name, path in names.items()}
    assert any(graph.values())
    try:
        TopologicalSorter({name: others - {name} for name, others in graph.items()}).prepare()
    except CycleError as error:
        pytest.fail(' -> '.join(error.args[1]))


def test_architecture__lists_every_room():
    text = (ROOT / 'docs/architecture.md').read_text()
    rooms = {room.replace('.', '/') for room in (*ROOMS, 'downstream.cli', 'downstream.study', 'downstream.report')}
    assert rooms - {'backbones', 'pretrain'} <= set(re.findall(r'`([a-z_/]+?)(?:/|\.py)?`', text))


def test_files__stay_readable():
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 300, path


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def arguments(function):
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def test_functions__typed_and_short():
    for path in FILES:
        for function in functions(path):
            where = f'{path.relative_to(ROOT)}:{function.lineno} {function.name}'
            untyped = [a.arg for a in arguments(function) if a.annotation is None and a.arg not in ('self', 'cls')]
            assert not untyped, f'{where}: {untyped} without a type'
            assert function.returns is not None, f'{where}: no return type'
            assert function.end_lineno - function.lineno < 50, f'{where}: too long'


def test_functions__few_arguments():
    counted = {}
    for path in FILES:
        # mmcv's operators have the arguments that mmcv gives them.
        if path.parent.name != 'operators':
            for function in functions(path):
                count = len([each for each in arguments(function) if each.arg not in ('self', 'cls')])
                counted[f'{path.relative_to(ROOT)} {function.name}'] = count
    # The ViT is told all of its sizes.
    assert counted.pop('backbones/vit/plain_vit.py __init__') <= 11
    assert max(counted.values()) <= 9, [name for name, count in counted.items() if count > 9]


def test_tools__a_few_lines_around_a_command():
    from downstream.cli.main import COMMANDS

    for path in (ROOT / 'tools').glob('*.py'):
        assert len(path.read_text().splitlines()) <= 12, path
        name = re.search(r"run_tool\('(\w+)'\)", path.read_text()).group(1)
        assert name in COMMANDS


def test_rooms__say_what_they_are():
    for folder in {path.parent for path in FILES}:
        text = (folder / '__init__.py').read_text()
        assert ast.get_docstring(ast.parse(text)), folder
