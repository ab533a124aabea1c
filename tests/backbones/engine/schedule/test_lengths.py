"""Length, batch and rate set in every place; counted by really stepping, and computed for the full recipes."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim.scheduler import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from backbones.engine.schedule.check import check_schedule
from backbones.engine.schedule.lengths import set_accumulation, set_batch_size, set_epochs, set_iters, set_lr
from tests.conftest import ROOT

DET, SEG = 'det_configs/mask_rcnn_vit_tiny.py', 'seg_configs/upernet_vit_tiny.py'
VITDET, MAE, TOKENIZER = 'det_configs/mask_rcnn_vitdet_base.py', 'mae_base.py', 'tokenizer_tiny.py'


def read(path):
    return Config.fromfile(ROOT / (path if '/' in path else f'pretrain/configs/{path}'))


def hook_of(cfg, kind):
    hooks = [*cfg.default_hooks.values(), *cfg.get('custom_hooks', [])]
    return next(hook for hook in hooks if hook.type == kind)


def curve(cfg, iterations, epoch_length=1):
    """The rate at every iteration as mmengine steps it, in shares of the full one."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    optimizer.step()
    built = []
    for entry in cfg.param_scheduler:
        end = cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters
        defaults = dict(optimizer=optimizer, epoch_length=epoch_length)
        built.append(PARAM_SCHEDULERS.build({'end': end, **entry}, default_args=defaults))
    assert all(isinstance(scheduler, _ParamScheduler) for scheduler in built)
    found = []
    for _ in range(iterations):
        found.append(optimizer.param_groups[0]['lr'])
        for scheduler in built:
            scheduler.step()
    return found


def test_set_iters__every_place_follows():
    cfg = read(DET)
    set_iters(cfg, 400)
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (400, 100)
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.begin, warm_up.end, cosine.begin, cosine.end) == (0, 20, 20, 400)
    assert cfg.default_hooks.checkpoint.interval == 100
    assert check_schedule(cfg) == []
    rates = curve(cfg, 400)
    # Full after a twentieth of the run, half in the middle of the cosine, down to nothing at the end.
    assert rates[19] == pytest.approx(1.0) == max(rates)
    assert rates[210] == pytest.approx(0.5, abs=0.01)
    assert rates[399] < 1e-3


def test_set_iters__steps_of_the_rate():
    cfg = read(VITDET)
    set_iters(cfg, 2700)
    assert cfg.param_scheduler[1].milestones == [2400, 2600]
    assert curve(cfg, 2700)[::300][-2:] == pytest.approx([1.0, 0.1])
    assert (cfg.train_cfg.val_interval, cfg.default_hooks.checkpoint.interval) == (270, 270)


@pytest.mark.parametrize('path', [DET, SEG, VITDET, 'seg_configs/upernet_vit_base.py'])
@pytest.mark.parametrize('updates', [1, 2, 3, 4, 7, 30])
def test_set_iters__shortest_runs_train(path, updates):
    cfg = read(path)
    set_iters(cfg, updates)
    assert check_schedule(cfg) == []
    rates = curve(cfg, updates)
    assert max(rates) == pytest.approx(1.0)
    assert cfg.default_hooks.checkpoint.interval <= updates
    assert cfg.default_hooks.logger.interval <= max(1, updates // 10)


def test_set_iters__the_same_length_changes_nothing():
    for path in (DET, VITDET, 'seg_configs/upernet_beit_large.py'):
        cfg = read(path)
        set_iters(cfg, cfg.train_cfg.max_iters)
        assert cfg.to_dict() == read(path).to_dict()


def test_set_epochs__every_place_follows():
    cfg = read(MAE)
    set_epochs(cfg, 200)
    assert cfg.train_cfg.max_epochs == 200
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.end, cosine.begin) == (10, 10)
    assert cfg.default_hooks.checkpoint.interval <= 10
    rates = curve(cfg, 200 * 20, epoch_length=20)
    assert rates[10 * 20 - 1] == pytest.approx(1.0)
    assert rates[-1] < 1e-4


def test_set_epochs__fractions_of_an_epoch():
    cfg = read(MAE)
    set_epochs(cfg, 4)
    assert cfg.param_scheduler[0].end == pytest.approx(0.2)
    assert curve(cfg, 4 * 50, epoch_length=50)[9:11] == pytest.approx([1.0, 1.0])


def test_set_epochs__hooks_that_count_iterations():
    cfg = read(TOKENIZER)
    set_epochs(cfg, 15)
    assert hook_of(cfg, 'AnnealTokenizer').temperature_iters == round(2000 / 3)
    assert hook_of(cfg, 'WatchCodebook').begin == round(500 / 3)
    assert cfg.train_cfg.max_epochs == 15


def test_set_epochs__of_a_loop_of_iterations():
    cfg = read(DET)
    # 358 images in batches of 4 on two processes: 45 updates an epoch, rounded.
    set_epochs(cfg, 10, images=358, per_iteration=8)
    assert cfg.train_cfg.max_iters == round(10 * 358 / 8)
    assert cfg.param_scheduler[1].end == cfg.train_cfg.max_iters


def test_set_accumulation__as_many_updates():
    plain, cfg = read(VITDET), read(VITDET)
    set_accumulation(cfg, 64)
    assert cfg.optim_wrapper.accumulative_counts == 64
    assert cfg.train_cfg.max_iters == 64 * plain.train_cfg.max_iters
    assert cfg.train_cfg.val_interval == 64 * plain.train_cfg.val_interval
    assert cfg.param_scheduler[0].end == 64 * 250
    assert cfg.param_scheduler[1].milestones == [64 * 163889, 64 * 177546]
    # Between updates: gradients that wait are not saved.
    assert cfg.default_hooks.checkpoint.interval == 5056 == 79 * 64
    assert check_schedule(cfg) == []


def test_set_accumulation__of_accumulation():
    cfg = read(SEG)
    for count in (4, 8, 2, 1):
        set_accumulation(cfg, count)
        assert cfg.train_cfg.max_iters == 2000 * count
        assert cfg.param_scheduler[0].end == 100 * count
    set_accumulation(cfg, 4)
    set_iters(cfg, 50)
    assert cfg.train_cfg.max_iters == 200


def test_set_accumulation__epochs_stay():
    cfg = read(MAE)
    set_accumulation(cfg, 16)
    assert cfg.optim_wrapper.accumulative_counts == 16
    assert cfg.param_scheduler == read(MAE).param_scheduler
    assert cfg.train_cfg == read(MAE).train_cfg


def test_set_accumulation__averages_count_each_update_once():
    cfg = read(TOKENIZER)
    set_accumulation(cfg, 4)
    assert hook_of(cfg, 'EMAHook').interval == 4


def test_set_batch_size_and_lr():
    cfg = read(DET)
    set_batch_size(cfg, 3)
    set_lr(cfg, 1e-3)
    assert (cfg.train_dataloader.batch_size, cfg.optim_wrapper.optimizer.lr) == (3, 1e-3)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda cfg: set_iters(cfg, 0), '--iters 0 is below 1'),
        (lambda cfg: set_batch_size(cfg, 0), '--batch-size 0 is below 1'),
        (lambda cfg: set_accumulation(cfg, -1), '--accumulate -1 is below 1'),
        (lambda cfg: set_lr(cfg, 0.0), '--lr 0.0 is not above 0'),
        (lambda cfg: set_lr(cfg, float('nan')), '--lr nan is not above 0'),
        (lambda cfg: set_iters(read(MAE), 9), '--iters 9: this config counts epochs, give --epochs'),
        (lambda cfg: set_lr(Config(dict(optim_wrapper=dict(a=1, b=2))), 0.1), 'this config has several optimizers'),
        (lambda cfg: set_lr(read('beit_base.py'), 1e-6), 'is not above param_scheduler.1.eta_min=1e-05'),
    ],
)
def test_flags__values_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        change(read(DET))
