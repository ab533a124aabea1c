"""Protocols of tools/evaluate.py that train."""

import argparse
import json
import os

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from backbones import PlainViT
from backbones.engine.launch.options import OptionsAction
from downstream.cli.evaluate import main, parse_args
from downstream.study.full_runs import TRAINED, digest, model_of, model_options, pool_options, recipe
from pretrain.evaluation.frozen import Description
from tests.datasets import make_folders

SHORT = [
    *(f'{part}_dataloader.num_workers=0' for part in ('train', 'val', 'test')),
    'train_dataloader.batch_size=6',
    'param_scheduler.0.end=1',
    'param_scheduler.1.begin=1',
    'train_cfg.max_epochs=2',
    # One checkpoint, the last: writing them takes longest here.
    'default_hooks.checkpoint.interval=2',
    'default_hooks.checkpoint.save_best=None',
]
BEIT = dict(variant='tiny', img_size=24, patch_size=8, rel_pos='shared_table', use_abs_pos=False, layer_scale=0.1)


def test_model_options__as_pretrained_but_for_the_table():
    found = Description(BEIT, dict(mean=[127.5] * 3, std=[100.0] * 3), 32)
    options = model_options('finetune', found)
    assert {'model.backbone.rel_pos=table', 'model.backbone.layer_scale=0.1', 'model.backbone.img_size=32'} <= {
        *options
    }
    assert 'model.data_preprocessor.mean=[127.5, 127.5, 127.5]' in options
    assert 'model.backbone.rel_pos=shared_table' in model_options('linear_full', found)


@pytest.mark.parametrize(
    ('protocol', 'name'), [('linear_full', 'linear_tiny'), ('partial', 'finetune_tiny'), ('finetune', 'finetune_tiny')]
)
def test_recipe__by_protocol_and_variant(protocol, name):
    assert recipe(protocol, BEIT).name == f'{name}.py'
    with pytest.raises(ValueError, match=f"{protocol} has no recipe for variant 'giant'"):
        recipe(protocol, dict(variant='giant'))


@pytest.mark.parametrize('pool', ['mean', 'class'])
@pytest.mark.parametrize('protocol', TRAINED)
def test_pool_options__the_model_pools_so(protocol, pool):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction)
    cfg = Config.fromfile(recipe(protocol, BEIT))
    cfg.merge_from_dict(parser.parse_args(['--cfg-options', *pool_options(protocol, pool)]).cfg_options)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert model.pool == pool
    assert pool_options(protocol, None) == []


def test_model_of__random_needs_sizes():
    with pytest.raises(ValueError, match='needs --variant and --img-size'):
        model_of(parse_args(['random', '--data-root', 'x']))


def test_digest__another_run_has_another_name(tmp_path):
    config, weights = tmp_path / 'a.py', tmp_path / 'a.pth'
    config.write_text('a = 1')
    weights.write_bytes(b'')
    found = [digest(config, str(weights), ['x']), digest(config, 'random', ['x']), digest(config, str(weights), ['y'])]
    os.utime(weights, (1, 1))
    found.append(digest(config, str(weights), ['x']))
    config.write_text('a = 2')
    found.append(digest(config, str(weights), ['x']))
    assert len(set(found)) == 5 and digest(config, str(weights), ['x']) == found[-1]


@pytest.mark.slow
def test_evaluate__trains_and_tests_once(tmp_path, capfd):
    root = make_folders(tmp_path / 'data')
    vit = PlainViT(**BEIT, out_norm=True)
    options = ', '.join(f'{key}={value!r}' for key, value in BEIT.items())
    config = f"model = dict(type='BEiTPretraining', encoder=dict(type='PlainViT', {options}))"
    state = {f'encoder.{name}': value for name, value in vit.state_dict().items()}
    torch.save({'state_dict': state, 'meta': {'cfg': config}}, tmp_path / 'a.pth')
    out = tmp_path / 'results.json'
    command = [str(tmp_path / 'a.pth'), '--data-root', str(root), '--work-dir', str(tmp_path / 'runs'), '--out',
               str(out), '--protocols', 'partial', 'linear_full', '--cfg-options', *SHORT]  # fmt: skip
    assert main(command) == 0, capfd.readouterr().err
    first = json.loads(out.read_text())['protocols']
    assert set(first) == {'partial', 'linear_full'}
    assert all(0 <= runs['0']['top1'] <= 100 for runs in first.values())
    trained = {path.name.split('-')[0]: path for path in (tmp_path / 'runs').glob('*-0-????????')}
    after = {name: torch.load(path / 'epoch_2.pth', weights_only=False) for name, path in trained.items()}
    for name, moved in (('partial', {'11'}), ('linear_full', set())):
        weights = after[name]['state_dict']
        blocks = {
            key.split('.')[2]
            for key, value in weights.items()
            if key.startswith('backbone.blocks.') and key.removeprefix('backbone.') in vit.state_dict()
            if not torch.equal(value, vit.state_dict()[key.removeprefix('backbone.')])
        }
        assert blocks == moved, name
    # A second time nothing is run: the marks of the first are older than its end.
    marks = {path: path.stat().st_mtime_ns for path in (tmp_path / 'runs/done').iterdir()}
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / 'runs/done').iterdir()} == marks
    assert json.loads(out.read_text())['protocols'] == first
