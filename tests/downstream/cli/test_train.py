"""tools/train.py and tools/test.py on drawn data: train, evaluate, save, resume, test, and refuse mistakes."""

import importlib
import json
import math
import os
import subprocess
import sys

import pytest
import torch
from mmengine.registry import MODELS

from backbones.console.errors import exit_code
from downstream.cli.test import main as evaluate
from downstream.cli.train import main as train_main
from tests.conftest import ROOT
from tests.datasets import make_ade, make_coco

DET = str(ROOT / 'det_configs/mask_rcnn_vit_tiny.py')
SEG = str(ROOT / 'seg_configs/upernet_vit_tiny.py')
LOADERS = [
    *(f'{part}_dataloader.num_workers=0' for part in ('train', 'val', 'test')),
    *(f'{part}_dataloader.persistent_workers=False' for part in ('train', 'val', 'test')),
]
SHORT = [
    *LOADERS,
    'train_dataloader.batch_size=2',
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    # Hardly trained, so that there are boxes to evaluate.
    'optim_wrapper.optimizer.lr=1e-6',
    # No warm-up: two iterations have no room for one.
    'param_scheduler.0.start_factor=1.0',
    'param_scheduler.0.end=1',
    'param_scheduler.1.begin=1',
    'param_scheduler.1.end=2',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=1',
]
SMALL_SEG = [
    'model.data_preprocessor.size=(64,64)',
    'model.test_cfg.crop_size=(64,64)',
    'model.test_cfg.stride=(43,43)',
]
METRICS = {DET: 'coco/bbox_mAP', SEG: 'mIoU'}


def small(config):
    """Options for a run of seconds on images of 64 px."""
    scale = '(64,64)' if config == DET else '(128,48)'
    pipelines = [f'train_dataloader.dataset.pipeline.2.scale={scale}']
    pipelines += ['train_dataloader.dataset.pipeline.3.crop_size=(64,64)']
    pipelines += [f'{part}_dataloader.dataset.pipeline.1.scale={scale}' for part in ('val', 'test')]
    return [*SHORT, *pipelines, *(SMALL_SEG if config == SEG else [])]


def data(config, folder):
    return str(make_coco(folder) if config == DET else make_ade(folder))


def scalars(work_dir):
    """Everything logged as JSON, run after run."""
    lines = []
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        lines += [json.loads(line) for line in file.read_text().splitlines()]
    return lines


@pytest.mark.slow
@pytest.mark.parametrize('config', [DET, SEG], ids=['det', 'seg'])
def test_train__then_resume_then_test(config, tmp_path, capsys):
    work, root = tmp_path / 'run', data(config, tmp_path / 'data')
    command = [config, '--data-root', root, '--work-dir', str(work), '--seed', '1', '--cfg-options', *small(config)]
    train_main(command)
    assert {'iter_1.pth', 'iter_2.pth', 'versions.json', config.split('/')[-1]} <= {p.name for p in work.iterdir()}
    assert list(work.glob('*/vis_data/events.out.tfevents*'))
    logged = scalars(work)
    assert [line['step'] for line in logged if 'loss' in line] == [1, 2]
    assert all(math.isfinite(line['loss']) for line in logged if 'loss' in line)
    first = torch.load(work / 'iter_1.pth', weights_only=True)
    assert tuple(first['meta']['dataset_meta']['classes']) == ('red', 'green', 'blue')

    train_main([*command, 'train_cfg.max_iters=3', 'param_scheduler.1.end=3', '--resume'])
    assert [line['step'] for line in scalars(work) if 'loss' in line] == [1, 2, 3]
    assert 'resuming from' in capsys.readouterr().err + ''.join(p.read_text() for p in work.glob('*/*.log'))

    evaluate([config, str(work / 'iter_3.pth'), '--data-root', root, '--work-dir', str(work / 'test'),
               '--cfg-options', *small(config)])  # fmt: skip
    metrics = json.loads((work / 'test/metrics.json').read_text())
    validated = [line for line in scalars(work) if METRICS[config] in line]
    assert metrics[METRICS[config]] == pytest.approx(validated[-1][METRICS[config]])
    assert len(validated) == 2
    each = ['coco/bbox_{}_precision', 'coco/segm_{}_precision'] if config == DET else ['IoU_{}', 'Acc_{}']
    assert {kind.format(name) for kind in each for name in ('red', 'green', 'blue')} <= metrics.keys()
    assert METRICS[config] in capsys.readouterr().out


@pytest.mark.slow
def test_train__pretrained_weights_reach_the_backbone(tmp_path):
    from backbones import PlainViT

    vit = PlainViT('tiny', img_size=256)
    torch.save({'model': vit.state_dict()}, tmp_path / 'vit.pth')
    options = [*small(SEG), 'optim_wrapper.optimizer.lr=0.0']
    train_main([SEG, '--data-root', data(SEG, tmp_path / 'data'), '--work-dir', str(tmp_path / 'run'),
                '--pretrained', str(tmp_path / 'vit.pth'), '--amp', '--cfg-options', *options])  # fmt: skip
    trained = torch.load(tmp_path / 'run/iter_2.pth', weights_only=True)['state_dict']
    for name, value in vit.state_dict().items():
        torch.testing.assert_close(trained[f'backbone.{name}'], value, rtol=0, atol=0)


def run_tool(*arguments):
    """A real command line."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )


MISTAKES = {
    'config': (['nowhere.py'], 'config nowhere.py: there is no such file'),
    'data root': ([DET, '--data-root', 'nowhere'], '--data-root nowhere: there is no such directory'),
    'layout': ([DET, '--data-root', str(ROOT / 'tests')], 'has a layout that is not known'),
    'default data': ([DET], 'data/coco/annotations/instances_train2017.json: there is no such file'),
    'key': ([DET, '--cfg-options', 'max_epochs=3'], 'nothing reads max_epochs'),
}


@pytest.mark.parametrize('case', sorted(MISTAKES))
def test_train__mistakes(case):
    from backbones.console.errors import UsageError

    arguments, message = MISTAKES[case]
    with pytest.raises(UsageError) as error:
        train_main(arguments)
    assert message in str(error.value)


def test_train__missing_files(tmp_path):
    from backbones.console.errors import UsageError

    root = data(SEG, tmp_path / 'data')
    with pytest.raises(UsageError, match=r'pretrained weights lost.pth: there is no such file'):
        train_main([SEG, '--data-root', root, '--pretrained', 'lost.pth'])
    with pytest.raises(UsageError, match=r'--resume lost.pth: there is no such file'):
        train_main([SEG, '--data-root', root, '--resume', 'lost.pth'])
    with pytest.raises(UsageError, match=r'checkpoint lost.pth: there is no such file'):
        evaluate([SEG, 'lost.pth', '--data-root', root])


def test_test__refuses_a_checkpoint_of_another_model(tmp_path):
    from backbones.console.errors import UsageError

    torch.save({'state_dict': {'backbone.cls_token': torch.zeros(1, 1, 192)}, 'meta': {}}, tmp_path / 'a.pth')
    with pytest.raises(UsageError, match='does not fit the config'):
        evaluate([SEG, str(tmp_path / 'a.pth'), '--data-root', data(SEG, tmp_path / 'data'),
                   '--work-dir', str(tmp_path / 'run'), '--cfg-options', *small(SEG)])  # fmt: skip


@pytest.mark.slow
def test_train__a_mistake_is_one_line_and_exit_code_2():
    done = run_tool('tools/train.py', 'nowhere.py')
    assert (done.returncode, done.stdout) == (2, '')
    told = 'error: config nowhere.py: there is no such file; `dense-mae configs` lists those known by name'
    assert done.stderr.splitlines()[-1] == told
    assert 'Traceback' not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize('config', [DET, SEG], ids=['det', 'seg'])
def test_train__two_processes(config, tmp_path):
    work, root = tmp_path / 'run', data(config, tmp_path / 'data')
    done = run_tool('-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2', 'tools/train.py', config,
                    '--data-root', root, '--work-dir', str(work), '--launcher', 'pytorch',
                    '--cfg-options', *small(config))  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line['step'] for line in scalars(work) if 'loss' in line] == [1, 2]
    assert sum(METRICS[config] in line for line in scalars(work)) == 1
    assert (work / 'iter_2.pth').is_file()


def prepared(tool, *arguments):
    """Config and lines of a command line, without a run."""
    return tool.prepare(tool.parse_args(list(arguments)))


SEG_ASKED = ['reduce_zero_label=False', 'img_suffix=.jpeg', 'data_prefix.img_path=mine', 'metainfo.classes=(a,b)']


def asked_of_seg(part, folder):
    """Options that --data-root would set otherwise, of one part of the data."""
    (folder / 'mine').mkdir(exist_ok=True)
    values = [value.replace('=mine', f'={folder / "mine"}') for value in SEG_ASKED]
    return [f'{part}_dataloader.dataset.{value}' for value in values]


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_cfg_options__win_over_data_root_segmentation(tool, tmp_path):
    root, part = data(SEG, tmp_path / 'data'), tool
    module = importlib.import_module(f'downstream.cli.{tool}')
    (tmp_path / 'any.pth').touch()
    config = [SEG] if tool == 'train' else [SEG, str(tmp_path / 'any.pth')]
    options = [*asked_of_seg(part, tmp_path), 'model.decode_head.num_classes=4']
    cfg, told = prepared(module, *config, '--data-root', root, '--cfg-options', *options)
    dataset = cfg[f'{part}_dataloader'].dataset
    assert (dataset.reduce_zero_label, dataset.img_suffix) == (False, '.jpeg')
    assert (dataset.metainfo.classes, dataset.data_prefix.img_path) == (('a', 'b'), str(tmp_path / 'mine'))
    assert dataset.data_prefix.seg_map_path.startswith(root)
    assert cfg.model.decode_head.num_classes == 4
    assert cfg.model.auxiliary_head.num_classes == 3
    assert sum('as --cfg-options says' in line for line in told) == 5
    assert (
        f'{part}_dataloader.dataset.reduce_zero_label = False, as --cfg-options says; --data-root would set True'
        in told
    )


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_cfg_options__win_over_data_root_detection(tool, tmp_path):
    root, other = data(DET, tmp_path / 'data'), make_coco(tmp_path / 'other')
    module = importlib.import_module(f'downstream.cli.{tool}')
    (tmp_path / 'any.pth').touch()
    config = [DET] if tool == 'train' else [DET, str(tmp_path / 'any.pth')]
    truth = str(other / 'annotations/instances_val.json')
    part = {'train': 'val', 'test': 'test'}[tool]
    options = [f'{part}_evaluator.ann_file={truth}', f'{part}_dataloader.dataset.ann_file={truth}',
               'model.roi_head.bbox_head.num_classes=7']  # fmt: skip
    cfg, told = prepared(module, *config, '--data-root', root, '--cfg-options', *options)
    assert cfg[f'{part}_evaluator'].ann_file == cfg[f'{part}_dataloader'].dataset.ann_file == truth
    assert (cfg.model.roi_head.bbox_head.num_classes, cfg.model.roi_head.mask_head.num_classes) == (7, 3)
    assert cfg[f'{part}_dataloader'].dataset.data_prefix.img.startswith(root)
    assert sum('as --cfg-options says' in line for line in told) == 3


def test_cfg_options__win_over_the_seed_and_data_that_is_absent_is_refused(tmp_path):
    from backbones.console.errors import UsageError
    from downstream.cli import train

    root = data(SEG, tmp_path / 'data')
    cfg, told = prepared(train, SEG, '--data-root', root, '--seed', '3', '--cfg-options', 'randomness.seed=5')
    assert cfg.randomness.seed == 5
    assert told[-2].startswith('randomness.seed = 5, as --cfg-options says; --seed would set 3')
    with pytest.raises(UsageError, match='lost: there is no such'):
        prepared(train, SEG, '--data-root', root, '--cfg-options', 'val_dataloader.dataset.data_prefix.img_path=lost')


MAE = str(ROOT / 'pretrain/configs/mae_tiny.py')
SMALL_MAE = [
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_dataloader.batch_size=2',
    'train_dataloader.dataset.crop_size=64',
    'model.encoder.img_size=64',
    'model.decoder.depth=1',
]
# Option -> what the one line says of it. Each is found while another part is read or built.
SLIPS = {
    'train_cfg.max_itres=5': 'train_cfg.max_itres: EpochBasedTrainLoop takes no max_itres; did you mean max_epochs?',
    'train_cfg.max_iters=5': 'train_cfg.max_iters: EpochBasedTrainLoop takes no max_iters',
    'model.mask_ration=0.5': 'did you mean model.mask_ratio?',
    'model.type=MAEE': 'model.type: there is no MAEE',
    'model.mask=foo': 'foo',
    'model.mask_ratio=1.5': 'mask ratio 1.5 masks 24 of 16 patches',
    'model.encoder.variant=tinny': "variant='tinny' is unknown: use one of tiny, small",
    'optim_wrapper.optimizer.lrr=1': 'optim_wrapper.optimizer.lrr: AdamW takes no lrr; did you mean lr?',
    'optim_wrapper.optimizer.type=AdamWW': 'optim_wrapper.optimizer.type: there is no AdamWW; did you mean AdamW?',
    'optim_wrapper.optimizer.lr=high': 'a number is expected',
    'optim_wrapper.optimizer.lr=-1': 'optim_wrapper.optimizer.lr=-1: it has to be a number from 0',
    'train_dataloader.batch_size=0': 'batch_size should be a positive integer value',
    'train_dataloader.sampler.type=Foo': 'train_dataloader.sampler.type: there is no Foo',
    'default_hooks.chekpoint.interval=1': 'did you mean default_hooks.checkpoint?',
    'custom_hooks+=dict(type=Nope)': 'there is no Nope',
    'log_processor.window_sise=5': 'log_processor.window_sise: LogProcessor takes no window_sise; did you',
    'visualizer.type=Foo': 'visualizer.type: there is no Foo',
    'env_cfg.cudnn_bench=True': 'did you mean env_cfg.cudnn_benchmark?',
    'load_from=lost.pth': 'lost.pth',
}


@pytest.mark.parametrize('option', SLIPS)
def test_train__slips_end_in_one_line(option, tmp_path, capsys):
    images = data(DET, tmp_path / 'data') + '/images/train'
    words = [MAE, '--data-root', images, '--work-dir', str(tmp_path / 'run'), '--cfg-options', *SMALL_MAE, option]
    assert exit_code(lambda: train_main(words), words) == 2
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(shown) == 1
    assert SLIPS[option] in shown[0]


def test_train__dicts_on_the_command_line_reach_the_model_and_hooks_are_added(tmp_path):
    from downstream.cli import train

    images = data(DET, tmp_path / 'data') + '/images/train'
    target, hook = (
        "model.target=dict(type='TokenTarget',tokenizer='TOKENIZER')",
        "custom_hooks+=dict(type='OnlineProbe',data_root='X')",
    )
    cfg, _ = prepared(train, MAE, '--data-root', images, '--cfg-options', target, hook)
    plain, _ = prepared(train, MAE, '--data-root', images)
    assert cfg.model.target == dict(type='TokenTarget', tokenizer='TOKENIZER')
    assert cfg.custom_hooks == [*(plain.get('custom_hooks') or []), dict(type='OnlineProbe', data_root='X')]


def test_train__an_upstream_config_takes_the_flags(tmp_path):
    from downstream.cli import train

    (tmp_path / 'mine.py').write_text("_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'\n")
    root = data(DET, tmp_path / 'data')
    cfg, told = prepared(train, str(tmp_path / 'mine.py'), '--data-root', root, '--pretrained', 'random', '--amp',
                         '--compile', '--seed', '3')  # fmt: skip
    assert cfg.train_dataloader.dataset.ann_file.startswith(root)
    assert cfg.model.roi_head.mask_head.num_classes == 3
    assert cfg.model.backbone.init_cfg is None
    assert (cfg.optim_wrapper.type, cfg.val_cfg.type) == ('BF16OptimWrapper', 'BF16ValLoop')
    assert cfg.custom_hooks[-1].type == 'CompileParts'
    assert any('taken for variables of the config' in line for line in told)


def test_train__stopped_is_one_line(monkeypatch, capsys):
    from downstream.cli import train

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train.Runner, 'from_cfg', stopped)
    monkeypatch.setitem(train.STEPS, '--data-root', lambda cfg, args: [])
    monkeypatch.setitem(train.STEPS, 'the check of the data', lambda cfg, args: [])
    assert exit_code(lambda: train_main([MAE]), []) == 130
    assert capsys.readouterr().err.splitlines()[-1] == 'stopped'


def test_test__a_checkpoint_of_another_model_takes_one_short_line(tmp_path, capsys):
    from backbones import PlainViT

    state = PlainViT('tiny', img_size=64).state_dict()
    torch.save({'state_dict': {f'encoder.{name}': value for name, value in state.items()}}, tmp_path / 'encoder.pth')
    words = [SEG, str(tmp_path / 'encoder.pth'), '--data-root', data(SEG, tmp_path / 'data'), '--work-dir',
             str(tmp_path / 'run'), '--cfg-options', *small(SEG)]  # fmt: skip
    assert exit_code(lambda: evaluate(words), words) == 2
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(shown) == 1
    assert 'does not fit the config: none of its' in shown[0]
    assert len(shown[0]) < 700
    (tmp_path / 'text.pth').write_text('hello')
    words[1] = str(tmp_path / 'text.pth')
    assert exit_code(lambda: evaluate(words), words) == 2
    assert 'cannot be read: it is damaged, cut short or not a PyTorch file' in capsys.readouterr().err


def test_as_json__what_json_has_no_number_for_is_null():
    from downstream.cli.test import as_json

    assert [as_json(value) for value in (1, 0.5, math.nan, math.inf, torch.tensor(2.0))] == [1.0, 0.5, None, None, 2.0]


def test_train__published_names_and_other_channels_go_through_the_command(tmp_path, monkeypatch):
    from huggingface_hub import constants
    from safetensors.torch import save_file

    from backbones import PlainViT
    from downstream.cli import train

    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    folder, commit = tmp_path / 'hub/models--timm--vit_mine', '0123456789' * 4
    (folder / 'snapshots' / commit).mkdir(parents=True)
    (folder / 'refs').mkdir()
    (folder / 'refs/main').write_text(commit)
    vit = PlainViT('tiny', img_size=64, out_norm=True)
    save_file(vit.state_dict(), folder / 'snapshots' / commit / 'model.safetensors')
    (tmp_path / 'mine.py').write_text(
        f"_base_ = {MAE!r}\nmodel = dict(encoder=dict(in_channels=4, init_cfg=dict(type='PretrainedViT', "
        "checkpoint='lost.pth', channels='mean')))\n"
    )
    images = data(DET, tmp_path / 'data') + '/images/train'
    cfg, told = prepared(train, str(tmp_path / 'mine.py'), '--data-root', images, '--pretrained', 'timm/vit_mine',
                         '--cfg-options', *SMALL_MAE)  # fmt: skip
    assert 'backbone starts from: timm/vit_mine' in told
    assert cfg.model.encoder.init_cfg == dict(type='PretrainedViT', checkpoint='timm/vit_mine', channels='mean')
    encoder = MODELS.build(cfg.model.encoder)
    encoder.init_weights()
    # As many channels of the mean, so that the sum over them stays.
    found, kernel = encoder.patch_embed.proj.weight, vit.patch_embed.proj.weight
    torch.testing.assert_close(found.sum(1), kernel.sum(1))
    torch.testing.assert_close(found[:, 0], found[:, 3])


def test_test__an_entry_of_hooks_without_a_type_is_named(tmp_path, capsys):
    torch.save({'state_dict': {}, 'meta': {}}, tmp_path / 'a.pth')
    words = [SEG, str(tmp_path / 'a.pth'), '--data-root', data(SEG, tmp_path / 'data'), '--work-dir',
             str(tmp_path / 'run'), '--cfg-options', *small(SEG), 'default_hooks.mine.draw=True']  # fmt: skip
    assert exit_code(lambda: evaluate(words), words) == 2
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(shown) == 1
    assert 'must contain the key "type"' in shown[0] and "'draw': True" in shown[0]
