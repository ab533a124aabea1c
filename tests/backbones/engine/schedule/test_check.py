"""Schedules that cannot do what they say."""

import pytest
from mmengine.config import Config
from mmengine.optim import LinearLR
from mmengine.runner import Runner

from backbones.console.errors import UsageError
from backbones.engine.launch.config import read_config
from backbones.engine.schedule.check import check_built, check_schedule
from backbones.engine.schedule.lengths import set_epochs
from tests.backbones.engine.test_run_hooks import Noisy, Rows
from tests.conftest import ROOT

SEG, MAE = ROOT / 'seg_configs/upernet_vit_tiny.py', ROOT / 'pretrain/configs/mae_tiny.py'
ALL = [
    path
    for folder in ('det_configs', 'seg_configs', 'pretrain/configs')
    for path in sorted((ROOT / folder).glob('*.py'))
    if path.stem != '__init__'
]


@pytest.mark.parametrize('path', ALL, ids=[path.stem for path in ALL])
def test_check_schedule__shipped_configs(path):
    told = check_schedule(Config.fromfile(path), 1251)
    # DALL-E's rate falls in the first 1,200,000 of its 3,000,000 iterations.
    assert bool(told) == (path.stem == 'tokenizer_base')


REFUSED = {
    'end beyond the run': ({'train_cfg.max_iters': 350}, r'param_scheduler.1 .* is planned for 2000 iterations and '),
    'end before the run': (
        {'train_cfg.max_iters': 4000},
        'the last 2000 of 4000 iterations would train at a rate of 0',
    ),
    'warm-up longer than the run': ({'train_cfg.max_iters': 50}, 'warms up for 100 of 50 iterations'),
    'warm-up as long as the run': (
        {'train_cfg.max_iters': 100, 'param_scheduler.1.end': 100},
        'param_scheduler.0 .* warms up for 100 of 100 iterations',
    ),
    'one step': (
        {'param_scheduler.0.end': 1, 'param_scheduler.1.begin': 1},
        'warms up for one of 2000 iterations: a single step leaves the rate at its start for good',
    ),
    'no step': ({'param_scheduler.0.end': 0}, 'begins at 0 iterations and ends at 0: it never acts'),
    'late': ({'param_scheduler.1.begin': 2000}, 'begins at 2000 of 2000 iterations: it never acts'),
    'epochs in a loop of iterations': ({'param_scheduler.1.by_epoch': True}, 'counts epochs, and a loop of iterations'),
}


@pytest.mark.parametrize('case', sorted(REFUSED))
def test_check_schedule__iterations(case):
    options, message = REFUSED[case]
    with pytest.raises(UsageError, match=message) as error:
        check_schedule(read_config(SEG, options))
    assert '--iters N sets loop and schedule together' in str(error.value)


EPOCHS = {
    'warm-up': ({'train_cfg.max_epochs': 2}, None, 'warms up for 2 of 2 epochs: nothing is left at its full rate'),
    'end': ({'param_scheduler.1.end': 30}, None, 'is planned for 30 epochs and training has 20'),
    'stops at zero': ({'param_scheduler.1.end': 10}, None, 'the last 10 of 20 epochs would train at a rate of 0'),
    'one iteration': (
        {'param_scheduler.0.end': 1, 'param_scheduler.1.begin': 1},
        1,
        'warms up for one of 20 iterations: a single step',
    ),
    'one epoch by epochs': (
        {'param_scheduler.0.end': 1, 'param_scheduler.0.convert_to_iter_based': False},
        None,
        'warms up for one of 20 epochs: a single step',
    ),
    'constant': (
        {'param_scheduler.0.type': 'ConstantLR', 'param_scheduler.0.end': 1, 'param_scheduler.1.begin': 1},
        1,
        'a single step',
    ),
}


@pytest.mark.parametrize('case', sorted(EPOCHS))
def test_check_schedule__epochs(case):
    options, length, message = EPOCHS[case]
    with pytest.raises(UsageError, match=message) as error:
        check_schedule(read_config(MAE, options), length)
    assert '--epochs N sets loop and schedule together' in str(error.value)


def test_check_schedule__legal_forms():
    cfg = read_config(SEG)
    for entries in (None, [], dict(type='PolyLR', by_epoch=False, eta_min=1e-5)):
        cfg.param_scheduler = entries
        assert check_schedule(cfg) == []
    cfg.param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False, end=1500, eta_min=1e-5)]
    assert check_schedule(cfg) == ['the learning rate stays at its floor for the last 500 of 2000 iterations']
    # A linear decay is no warm-up.
    cfg.param_scheduler = [dict(type='LinearLR', by_epoch=False, start_factor=1.0, end_factor=0.0)]
    assert check_schedule(cfg) == []
    # Classes in place of names, scopes, and a schedule for each of several optimizers.
    cfg.param_scheduler = dict(generator=[dict(type=LinearLR, by_epoch=False, end=100)],
                               critic=dict(type='mmengine.PolyLR', by_epoch=False, begin=100))  # fmt: skip
    assert check_schedule(cfg) == []
    cfg.param_scheduler.generator[0].end = 1
    with pytest.raises(UsageError, match=r'\(LinearLR\) warms up for one of 2000 iterations'):
        check_schedule(cfg)
    cfg.train_cfg = None
    assert check_schedule(cfg) == []


def test_check_schedule__milestones():
    cfg = read_config(ROOT / 'det_configs/mask_rcnn_vitdet_base.py', {'train_cfg.max_iters': 170000})
    with pytest.raises(UsageError, match=r'has steps at 177546 that training \(170000 iterations\) does not reach'):
        check_schedule(cfg)


def runner(work_dir, images, batch_size, schedule, epochs=20):
    cfg = Config(
        dict(
            work_dir=str(work_dir),
            experiment_name=f'{work_dir.name}_{images}',
            default_scope='mmengine',
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            param_scheduler=schedule,
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            train_dataloader=dict(
                batch_size=batch_size,
                drop_last=True,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
            ),
        )
    )
    loader = {**cfg.train_dataloader, 'dataset': Rows(images)}
    return Runner(Noisy(), cfg=cfg, train_dataloader=loader,
                  **{key: value for key, value in cfg.items() if key != 'train_dataloader'})  # fmt: skip


WARM = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=2, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=2, by_epoch=True, convert_to_iter_based=True),
]


def test_check_built__no_batch(tmp_path):
    message = '3 images on 1 processes are fewer than a batch of 32 in each, and drop_last=True'
    with pytest.raises(UsageError, match=message):
        check_built(runner(tmp_path, 3, 32, WARM))


def test_check_built__one_iteration_an_epoch(tmp_path):
    short = [{**WARM[0], 'end': 1}, {**WARM[1], 'begin': 1}]
    with pytest.raises(UsageError, match='warms up for one of 20 iterations'):
        check_built(runner(tmp_path / 'a', 4, 4, short))
    assert check_built(runner(tmp_path / 'b', 8, 4, short)) == []


@pytest.mark.parametrize('images', [4, 8, 40, 400])
def test_check_built__a_flags_fraction_of_an_epoch_warms_up(tmp_path, images):
    built = runner(tmp_path, images, 4, WARM)
    for cfg in (built.cfg, Config(dict(train_cfg=dict(max_epochs=20), param_scheduler=built.param_schedulers))):
        set_epochs(cfg, 5)
    built._train_loop = dict(built._train_loop, max_epochs=5)
    assert check_built(built, stretched=True) == []
    built.train()
    warm_up, cosine = built.param_schedulers
    assert warm_up.end == cosine.begin == max(2, images // 8)
    assert built.optim_wrapper.param_groups[0]['initial_lr'] == 0.01
    assert max(built.message_hub.get_scalar('train/lr').data[0]) == pytest.approx(0.01)


def test_check_built__no_room_for_a_warm_up(tmp_path):
    built = runner(tmp_path, 8, 4, WARM)
    for cfg in (built.cfg, Config(dict(train_cfg=dict(max_epochs=20), param_scheduler=built.param_schedulers))):
        set_epochs(cfg, 1)
    built._train_loop = dict(built._train_loop, max_epochs=1)
    assert check_built(built, stretched=True) == []
    built.train()
    # Two iterations: the full rate, then half way down.
    assert list(built.message_hub.get_scalar('train/lr').data[0]) == pytest.approx([0.01, 0.005])
