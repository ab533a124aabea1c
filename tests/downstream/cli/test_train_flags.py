"""The flags of tools/train.py that set many places at once, through the command line, by what was trained."""

import json

import pytest
import torch
from mmengine.config import Config

from backbones.console.errors import UsageError
from downstream.cli.test import main as evaluate
from downstream.cli.train import main, parse_args, prepare
from tests.conftest import ROOT
from tests.datasets import make_ade, make_coco, write_images
from tests.downstream.cli.test_train import DET, LOADERS, SEG, data, scalars

MAE = str(ROOT / 'pretrain/configs/mae_tiny.py')


def log(work_dir):
    return ''.join(path.read_text() for path in sorted(work_dir.glob('*/*.log')))


def saved(path):
    return torch.load(path, weights_only=True)


def steps(checkpoint):
    """Updates that the optimizer counted."""
    return {int(state['step']) for state in checkpoint['optimizer']['state'].values()}


@pytest.mark.slow
def test_flags__updates_are_counted(tmp_path):
    config, work, root = SEG, tmp_path / 'run', data(SEG, tmp_path / 'data')
    flags = ['--iters', '4', '--accumulate', '3', '--batch-size', '2', '--lr', '1e-3', '--img-size', '64']
    main([config, '--data-root', root, '--work-dir', str(work), '--pretrained', 'random', *flags, '--cfg-options',
          *LOADERS])  # fmt: skip
    last = saved(work / 'iter_12.pth')
    assert steps(last) == {4}
    assert last['meta']['iter'] == 12
    # The rate ends at nothing, and was whole in between.
    rates = [line['lr'] for line in scalars(work) if 'lr' in line]
    assert max(rates) == pytest.approx(1e-3)
    assert max(group['initial_lr'] for group in last['optimizer']['param_groups']) == pytest.approx(1e-3)
    told = log(work)
    line = (
        'training: effective batch 6 (1 processes x 2 images x 3 iterations an update), lr 0.001 (0.001 for 4 images)'
    )
    assert f'{line}, 4 updates in 12 iterations, 6 epochs of the data, ends after iteration 12' in told
    assert 'the recipe is for a batch of 4 images, the effective batch has 6' in told
    assert 'images of 64 px (instead of 256)' in told
    assert 'large linear layers in float32: ' in told
    # Validated on images of that size too.
    assert len([line for line in scalars(work) if 'mIoU' in line or 'coco/bbox_mAP' in line]) >= 1
    evaluate([config, str(work / 'iter_12.pth'), '--data-root', root, '--work-dir', str(work / 'test'), '--img-size',
              '64', '--cfg-options', *LOADERS])  # fmt: skip
    metrics = json.loads((work / 'test/metrics.json').read_text())
    # The figures of each class are the file's alone.
    metrics = {name: value for name, value in metrics.items() if name in ('aAcc', 'mAcc', 'mIoU')}
    validated = [line for line in scalars(work) if 'mIoU' in line]
    assert len(metrics) == 3
    assert metrics == pytest.approx({name: validated[-1][name] for name in metrics}, nan_ok=True)


def options(config, tmp_path, *flags):
    root = data(config, tmp_path / 'data') if config in (DET, SEG) else tmp_path / 'images'
    if config == MAE:
        write_images(root, range(4))
    return prepare(parse_args([config, '--data-root', str(root), '--pretrained', 'random', *flags]))


def test_flags__epochs_of_a_loop_of_iterations(tmp_path):
    cfg, _ = options(SEG, tmp_path, '--epochs', '6', '--batch-size', '2', '--accumulate', '3')
    # 4 images: two iterations an epoch, but 4 updates in 6 epochs when three make one.
    assert cfg.train_cfg.max_iters == 12 * 3


def test_flags__options_win(tmp_path):
    cfg, told = options(SEG, tmp_path, '--iters', '40', '--cfg-options', 'train_cfg.val_interval=7')
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (40, 7)
    assert any('train_cfg.val_interval = 7, as --cfg-options says' in line for line in told)


def test_flags__options_that_contradict_the_length_are_refused(tmp_path):
    with pytest.raises(UsageError, match='of 30 iterations: nothing is left at its full rate'):
        options(SEG, tmp_path, '--iters', '40', '--cfg-options', 'train_cfg.max_iters=30')


def test_flags__a_checkpoint_comes_before_each_validation(tmp_path):
    cfg, told = options(SEG, tmp_path, '--cfg-options', 'train_cfg.val_interval=100')
    assert cfg.default_hooks.checkpoint.interval == 100
    assert 'a checkpoint every 100 iterations, before each validation' in told


@pytest.mark.parametrize('flags', [['--iters', '9'], ['--img-size', '100'], ['--norm', 'GN'], ['--accumulate', '0']])
def test_flags__what_a_config_cannot_follow(flags, tmp_path):
    messages = {
        '--iters': '--iters 9: this config counts epochs, give --epochs',
        '--img-size': '--img-size 100 is no multiple of the patch of 16 px',
        '--norm': '--norm GN: this model has no SyncBN',
        '--accumulate': '--accumulate 0 is below 1',
    }
    with pytest.raises(UsageError, match=messages[flags[0]]):
        options(MAE, tmp_path, *flags)


def test_flags__no_two_lengths():
    with pytest.raises(SystemExit):
        parse_args([SEG, '--iters', '3', '--epochs', '2'])


@pytest.mark.slow
def test_flags__pretraining(tmp_path):
    images, work = tmp_path / 'images', tmp_path / 'run'
    write_images(images, range(9))
    flags = ['--epochs', '3', '--batch-size', '2', '--accumulate', '2', '--lr', '2e-3', '--img-size', '32']
    main([MAE, '--data-root', str(images), '--work-dir', str(work), *flags, '--cfg-options',
          'train_dataloader.num_workers=0', 'model.decoder.depth=1'])  # fmt: skip
    last = saved(work / 'epoch_3.pth')
    # 9 images make four batches: two updates an epoch.
    assert steps(last) == {6}
    # The base rate is for 256 images, four are seen for each update.
    assert last['optimizer']['param_groups'][0]['initial_lr'] == pytest.approx(2e-3 * 4 / 256)
    assert last['state_dict']['encoder.pos_embed'].shape[1] == 4 + 1
    batch = 'effective batch 4 (1 processes x 2 images x 2 iterations an update)'
    line = f'{batch}, lr 3.125e-05 (0.002 for 256 images, scaled)'
    assert f'{line}, 6 updates in 12 iterations, 3 epochs of the data, ends after iteration 12' in log(work)
    cfg = Config.fromfile(work / 'mae_tiny.py')
    assert (cfg.model.encoder.img_size, cfg.train_dataloader.dataset.crop_size) == (32, 32)


def test_flags__sync_bn_over_one_image(tmp_path):
    root, config = make_coco(tmp_path / 'data'), str(ROOT / 'det_configs/mask_rcnn_vit_base.py')
    command = [config, '--data-root', str(root), '--pretrained', 'random']
    with pytest.raises(UsageError, match=r'averages over the 1 image\(s\) of one iteration.* Take --norm LN2d'):
        prepare(parse_args([*command, '--accumulate', '64']))
    cfg, told = prepare(parse_args([*command, '--norm', 'GN']))
    assert cfg.model.roi_head.bbox_head.norm_cfg == dict(type='GN', num_groups=32)
    [line] = [line for line in told if line.startswith('GN in place of SyncBN: ')]
    assert all(place in line for place in ('model.neck.1.norm_cfg', 'bbox_head.norm_cfg', 'mask_head.norm_cfg'))
    root = make_ade(tmp_path / 'ade')
    config = str(ROOT / 'seg_configs/upernet_vit_base.py')
    _, told = prepare(parse_args([config, '--data-root', str(root), '--pretrained', 'random']))
    assert any('averages over the 2 image(s)' in line for line in told)


@pytest.mark.slow
def test_train__a_loss_that_is_not_finite_stops_before_saving(tmp_path):
    root, work = data(SEG, tmp_path / 'data'), tmp_path / 'run'
    options = [*LOADERS, 'default_hooks.checkpoint.interval=4', 'train_cfg.val_interval=4']
    with pytest.raises(FloatingPointError, match='the loss is nan at iteration 4'):
        main([SEG, '--data-root', root, '--work-dir', str(work), '--pretrained', 'random', '--iters', '4', '--img-size',
              '64', '--lr', '1e20', '--cfg-options', *options])  # fmt: skip
    assert not list(work.glob('*.pth*'))
