"""Every command that README, docs and config files show goes through its parser, and trainings through `prepare`.

Placeholders become drawn data and weights that fit: what is held here is that flags, options, configs and layouts
exist and belong together.
"""

import importlib
import math
import re
import shlex
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS

from backbones.console.errors import UsageError
from backbones.console.places import find_config
from backbones.engine.launch.config import RUNNER_KEYS, open_config
from backbones.engine.launch.options import read_pair
from backbones.engine.launch.weights import find_backbones, pretrained_entry
from downstream.cli import train
from downstream.cli.main import COMMANDS as ENTRIES
from tests.conftest import ROOT
from tests.datasets import make_ade, make_coco, make_folders, write_images

DOCS = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
CONFIGS = [
    path for room in ('pretrain/configs', 'det_configs', 'seg_configs') for path in sorted((ROOT / room).glob('*.py'))
]
CLI = sorted((ROOT / 'downstream/cli').glob('[!_]*.py'))
# tools/NAME.py -> command, where they are called otherwise
NAMES = {'convert_checkpoint': 'convert', 'make_crops': 'crops', 'make_shapes': 'shapes'}
START = re.compile(
    r'(?:\w+=\S+ )*(?:python|torchrun|srun|pip install .*&& python) .*?(tools/\w+\.py.*)|'
    rf'(?:dense-mae|torchrun .*-m downstream.cli) ((?:{"|".join(ENTRIES)})(?: .*)?)$'
)
FILES = re.compile(r'(\S+\.(pth|pth\.tar|pkl|safetensors)|CHECKPOINT|\w+_CHECKPOINT|FILE|TOKENIZER)$')
# To read weights of this size takes seconds, and shows no more than the others do.
LARGE = ('large', 'huge', '_base_')
COCO = ('COCO_STYLE_DIR', 'nuclei', 'coco', 'COCO_OR_ADE_STYLE_DIR', 'SHAPES/coco')
ADE = ('ADE_STYLE_DIR', 'camvid', 'SHAPES/ade')
IMAGES = ('photos', 'PHOTOS', 'OUT', 'SHAPES/unlabelled')
FOLDERS = ('DIR', 'IMAGENET', 'IMAGENET22K', 'CROPS', 'INAT', 'LABELLED')


def commands_in(text):
    """Command lines of a text: in fenced blocks, in back quotes, in docstrings."""
    joined = re.sub(r'\\\n\s*', '', text)
    inline = re.findall(r'`([^`\n]+)`', joined)
    for line in [*joined.splitlines(), *inline]:
        match = START.match(line.strip())
        if match and '|' not in line:
            group = match.lastindex
            yield line.strip()[: match.start(group)], match.group(group)


def collect():
    found: dict[str, Path] = {}
    for path in [*DOCS, *CONFIGS, *CLI]:
        text = path.read_text()
        for command in commands_in(text if path.suffix == '.md' else (text.split('"""')[1] if '"""' in text else '')):
            found.setdefault(command, path.relative_to(ROOT))
    return [pytest.param(command, id=f'{path}: {command[1][:60]}') for command, path in found.items()]


COMMANDS = collect()


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A directory in which the placeholders of the documents exist."""
    root = tmp_path_factory.mktemp('commands')
    for name in ('pretrain', 'det_configs', 'seg_configs', 'tools'):
        (root / name).symlink_to(ROOT / name)
    for name in COCO:
        make_coco(root / name)
    for name in ADE:
        make_ade(root / name)
    for name in IMAGES:
        write_images(root / name, range(2))
    for name in FOLDERS:
        make_folders(root / name)
    (root / 'data').mkdir()
    make_coco(root / 'data/coco', '{}2017', 'annotations/instances_{}2017.json')
    make_ade(root / 'data/ade/ADEChallengeData2016')
    make_folders(root / 'data/imagenet')
    return root


def arguments_of(command):
    """Words of a command line without comments, alternatives and dots."""
    command = re.sub(r'\s(#|\(|>).*', '', command[1])
    command = command.replace('[DIR ...]', 'DIR').replace('{mae,timm,transformers,mmpretrain,safetensors}', 'mae')
    tool, *words = [word for word in shlex.split(command) if word != '...']
    kind = words[0].partition('/')[0] if words else ''
    known = {'CONFIG': 'pretrain/configs/mae_base.py'}
    known |= {'DIR': {'det_configs': 'nuclei', 'seg_configs': 'camvid'}.get(kind, 'DIR')}
    return tool, [known.get(word, word) for word in words]


def write_weights(config, path):
    """Weights that fit the backbone of a config, of next to no size."""
    cfg, _ = open_config(config)
    for _, backbone in find_backbones(cfg.model):
        with torch.device('meta'):
            vit = MODELS.build({**backbone, 'init_cfg': None})
        state = {
            name: torch.zeros((), dtype=value.dtype).expand(value.shape) for name, value in vit.state_dict().items()
        }
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        torch.save({'model': state}, path)
        entry = pretrained_entry(backbone.get('init_cfg'))
        if entry is not None and entry.checkpoint != str(path) and not Path(entry.checkpoint).exists():
            write_weights_again(path, entry.checkpoint)


def write_weights_again(source, path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(Path(source).read_bytes())


LAUNCHED = dict(RANK='0', WORLD_SIZE='1', MASTER_ADDR='localhost', MASTER_PORT='29500', LOCAL_RANK='0',
                SLURM_PROCID='0', SLURM_NTASKS='1', SLURM_NODELIST='node0', SLURM_LOCALID='0')  # fmt: skip


def processes_of(command):
    """As many processes as torchrun is told to start."""
    numbers = [int(number) for number in re.findall(r'--(?:nnodes|nproc_per_node)[ =](\d+)', command[0])]
    size = str(math.prod(numbers))
    return dict(WORLD_SIZE=size, SLURM_NTASKS=size)


@pytest.mark.parametrize('command', COMMANDS)
def test_command__parses_and_makes_a_config(command, place, monkeypatch):
    tool, words = arguments_of(command)
    monkeypatch.chdir(place)
    for name, value in (LAUNCHED | processes_of(command)).items():
        monkeypatch.setenv(name, value)
    name = NAMES.get(Path(tool).stem, Path(tool).stem)
    module = importlib.import_module(f'downstream.cli.{name}')
    parse = getattr(module, 'parse_args', None) or getattr(module, 'parse', None) or parser_of(module)
    if name in ('train', 'test', 'check'):
        words[0] = str(find_config(words[0]))
        place_of_weights = words.index('--pretrained') + 1 if '--pretrained' in words else None
        if any(size in words[0] for size in LARGE) and place_of_weights:
            words[place_of_weights] = 'random'
        elif place_of_weights is None or FILES.match(words[place_of_weights]):
            write_weights(words[0], words[place_of_weights] if place_of_weights else 'vit.pth')
        if name == 'test':
            write_weights(words[0], words[1])
        cfg, told = (train if name == 'check' else module).prepare(parse(words))
        assert set(cfg) >= {'model', 'work_dir'}
        assert told
    else:
        assert parse(words) is not None
        check_training(module, parse(words))


def parser_of(module):
    return lambda words: module.build_parser().parse_args(words)


def check_training(module, args):
    """A sweep hands its options to train."""
    if module.__name__ != 'downstream.cli.sweep':
        return
    sweep = module.Sweep(args)
    for run in sweep.runs:
        words = [str(word) for word in sweep._training(run, Path('work'))]
        assert words[1:4] == ['-m', 'downstream.cli', 'train']
        train.prepare(train.parse_args(words[4:]))


def options_in(path):
    """Options that a document shows in back quotes or blocks of their own, outside of commands."""
    text = re.sub(r'\\\n\s*', ' ', path.read_text())
    blocks = re.findall(r'^--cfg-options .*(?:\n +.*)*', text, re.M)
    words = [word for block in blocks for line in block.splitlines() for word in shlex.split(line, comments=True)[0:]]
    inline = [word for quoted in re.findall(r'`([^`\n]+)`', text) if '=' in quoted for word in quoted.split(' ')]
    found = {word for word in [*words, *inline] if re.match(r'[a-z_]+(\.\w+)+\+?=', word)}
    return sorted(found - {'a.b=c'})


@pytest.fixture(scope='module')
def shipped():
    pretraining = [
        ROOT / f'pretrain/configs/{name}.py' for name in ('mae_tiny', 'beit_tiny', 'partial_base', 'tokenizer_tiny')
    ]
    return [*pretraining, ROOT / 'det_configs/mask_rcnn_vit_tiny.py', ROOT / 'seg_configs/upernet_vit_tiny.py']


@pytest.mark.parametrize('path', DOCS, ids=lambda path: path.name)
def test_options__of_documents_lead_somewhere(path, shipped):
    for option in options_in(path):
        key, value = read_pair(option)
        assert key.split('.')[0] in RUNNER_KEYS, option
        refused = []
        for config in shipped:
            try:
                open_config(config, {key: value})
            except UsageError as error:
                refused.append(str(error))
        assert len(refused) < len(shipped), refused


def test_collect__finds_what_the_documents_show():
    assert len(COMMANDS) > 60
    tools = {each.values[0][1].split()[0] for each in COMMANDS}
    assert tools >= {f'tools/{name}.py' for name in ('train', 'test', 'evaluate', 'tokens', 'sweep', 'reconstruct')}
