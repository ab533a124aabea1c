"""--resume through the command line: goes on exactly, does what was asked, or refuses in one line."""

import json
import os
import re
import shutil
import signal

import pytest
import torch

from backbones.console.errors import UsageError
from backbones.engine.resume.file import check_resumable, find_latest
from downstream.cli.train import main, parse_args, prepare
from tests.conftest import ROOT
from tests.datasets import make_ade, write_images
from tests.downstream.cli.test_train import DET, LOADERS, SEG, data, small

CONFIG = """
_base_ = ['{root}/pretrain/configs/_base_/mae.py', '{root}/pretrain/configs/_base_/recipe_mae.py',
          '{root}/pretrain/configs/_base_/runtime.py']
model = dict(
    encoder=dict(variant=dict(embed_dim=24, depth=2, num_heads={heads}), img_size=32),
    decoder=dict(embed_dim=12, depth=1, num_heads=2),
)
train_dataloader = dict(batch_size=3, num_workers=0, pin_memory=False, dataset=dict(crop_size=32))
train_cfg = dict(max_epochs=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, begin=1, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(max_keep_ckpts=9))
"""


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A small MAE of 12 images, four iterations an epoch; trained for four epochs in ``whole``, two in ``half``."""
    folder = tmp_path_factory.mktemp('resume')
    write_images(folder / 'images', range(12))
    (folder / 'mae.py').write_text(CONFIG.format(root=ROOT, heads=3))
    run(folder, 'whole')
    run(folder, 'half', '--epochs', '2')
    return folder


def command(folder, work_dir, *flags):
    return [str(folder / 'mae.py'), '--data-root', str(folder / 'images'), '--work-dir', str(folder / work_dir), *flags]


def run(folder, work_dir, *flags):
    # Two runs that start within a second would share their log, which mmengine finds by experiment and second.
    main(command(folder, work_dir, *flags, '--cfg-options', f'experiment_name={work_dir}'))


def saved(path):
    return torch.load(path, weights_only=True)


def logged(work_dir, key='lr'):
    """Logged values by iteration; what was logged later wins."""
    found = {}
    for file in sorted(work_dir.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime):
        found |= {line['step']: line[key] for line in map(json.loads, file.read_text().splitlines()) if key in line}
    return found


def copied(place, work_dir, name):
    shutil.copytree(place / work_dir, place / name)
    return place / name


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_resume__goes_on_as_the_uninterrupted_run(place):
    # The first epoch of the four, then the rest.
    folder = copied(place, 'whole', 'stopped')
    for path in folder.glob('epoch_[234].pth'):
        path.unlink()
    run(place, 'stopped', '--resume')
    assert same(saved(folder / 'epoch_4.pth')['state_dict'], saved(place / 'whole/epoch_4.pth')['state_dict'])


def test_resume__a_longer_training_has_its_own_curve(place):
    folder = copied(place, 'half', 'longer')
    run(place, 'longer', '--epochs', '4', '--resume')
    whole, longer = logged(place / 'whole'), logged(folder)
    assert {step: longer[step] for step in range(9, 17)} == {step: whole[step] for step in range(9, 17)}
    assert longer[9] > 10 * logged(place / 'half')[8]


def test_resume__a_lower_rate_is_taken(place):
    folder = copied(place, 'half', 'lower')
    run(place, 'lower', '--epochs', '4', '--lr', '1.5e-5', '--resume')
    whole, lower = logged(place / 'whole'), logged(folder)
    for step in range(9, 17):
        assert lower[step] == pytest.approx(whole[step] / 10)
    last = saved(folder / 'epoch_4.pth')['optimizer']['param_groups'][0]
    assert last['initial_lr'] == pytest.approx(1.5e-5 * 3 / 256)
    log = ''.join(path.read_text() for path in folder.glob('*/*.log'))
    assert 'with what the config says, not the checkpoint: initial_lr' in log


def test_resume__other_settings_of_the_optimizer_are_taken(place):
    folder = copied(place, 'half', 'decay')
    options = ['optim_wrapper.optimizer.weight_decay=0.3', 'optim_wrapper.optimizer.betas=(0.8,0.9)']
    run(place, 'decay', '--epochs', '3', '--resume', '--cfg-options', *options)
    group = saved(folder / 'epoch_3.pth')['optimizer']['param_groups'][0]
    assert (group['weight_decay'], tuple(group['betas'])) == (0.3, (0.8, 0.9))


def test_resume__nothing_changed_says_nothing(place):
    folder = copied(place, 'half', 'quiet')
    run(place, 'quiet', '--epochs', '2', '--resume')
    assert 'not the checkpoint' not in ''.join(path.read_text() for path in folder.glob('*/*.log'))


def test_resume__a_finished_training_says_so_and_a_shorter_one_is_refused(place):
    folder = copied(place, 'half', 'finished')
    run(place, 'finished', '--epochs', '2', '--resume')
    log = ''.join(path.read_text() for path in folder.glob('*/*.log'))
    assert 'the checkpoint has all 2 epochs: nothing is left to train; --epochs N goes on' in log
    with pytest.raises(UsageError, match='the checkpoint has 2 epochs, and the training ends at 1: give --epochs N'):
        run(place, 'finished', '--epochs', '1', '--resume')


def test_resume__a_checkpoint_without_schedules(place):
    folder = copied(place, 'half', 'bare')
    content = saved(folder / 'epoch_2.pth')
    del content['param_schedulers']
    torch.save(content, folder / 'epoch_2.pth')
    run(place, 'bare', '--epochs', '4', '--resume')
    whole, bare = logged(place / 'whole'), logged(folder)
    assert {step: bare[step] for step in range(9, 17)} == {step: whole[step] for step in range(9, 17)}


def test_resume__of_the_config_and_beside_other_flags(place):
    folder = copied(place, 'half', 'asked')
    (folder / 'last_checkpoint').write_text(str(place / 'half/epoch_1.pth'))
    cfg, told = prepare(parse_args(command(place, 'asked', '--epochs', '3', '--cfg-options', 'resume=True')))
    assert (cfg.resume, cfg.load_from) == (True, str(folder / 'epoch_1.pth'))
    assert f'resuming from {folder / "epoch_1.pth"}, iteration 4' in told
    (folder / 'last_checkpoint').write_bytes(b'\xff\0')
    given = str(place / 'half/epoch_1.pth')
    cfg, told = prepare(parse_args(command(place, 'asked', '--epochs', '3', '--resume', '--pretrained', given)))
    assert cfg.load_from == str(folder / 'epoch_2.pth')
    assert f'--pretrained {given} is not read: the checkpoint goes on' in told
    for where, message in (('', '--resume is empty'), (str(folder), 'it is a directory: give a checkpoint in it')):
        with pytest.raises(UsageError, match=message):
            prepare(parse_args(command(place, 'asked', '--resume', where)))
    with pytest.raises(UsageError, match='--work-dir is empty'):
        prepare(parse_args([*command(place, 'asked'), '--work-dir', '']))


REFUSED = {
    'width': (['model.decoder.embed_dim=16'], r'decoder.* is \(.*\) there and \(.*\) here'),
    'depth': (['model.encoder.variant.depth=3'], r'model.encoder.variant is .* there and .*'),
    'size': (
        ['model.encoder.img_size=48', 'train_dataloader.dataset.crop_size=48'],
        r'pos_embed is \(1, 5, 24\) there',
    ),
    'heads': (['model.encoder.variant.num_heads=2'], r'model.encoder.variant.* is .*3.* there and .*2.* here'),
    'decay groups': (['optim_wrapper.constructor=DefaultOptimWrapperConstructor'], 'its optimizer has 2 groups'),
}


@pytest.mark.parametrize('case', sorted(REFUSED))
def test_resume__another_model_is_refused(place, case):
    options, message = REFUSED[case]
    with pytest.raises(UsageError, match=message) as error:
        prepare(parse_args(command(place, 'half', '--resume', '--cfg-options', *options)))
    assert 'it was saved by another training' in str(error.value)
    assert '\n' not in str(error.value)


def test_resume__another_optimizer_is_refused(place):
    text = "\noptim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.1, momentum=0.9))\n"
    (place / 'sgd.py').write_text(CONFIG.format(root=ROOT, heads=3) + text)
    with pytest.raises(UsageError, match='its optimizer is of another type'):
        prepare(parse_args([str(place / 'sgd.py'), *command(place, 'half', '--resume')[1:]]))


@pytest.mark.slow
@pytest.mark.parametrize(('config', 'flags'), [(SEG, []), (DET, ['--batch-size', '1'])], ids=['seg', 'det'])
def test_resume__loops_of_iterations_go_on_exactly(config, flags, tmp_path):
    root, work = data(config, tmp_path / 'data'), tmp_path / 'run'
    line = [config, '--data-root', root, '--work-dir', str(work), '--pretrained', 'random', *flags]
    line += ['--iters', '4', '--img-size', '64']
    options = [*LOADERS, 'default_hooks.checkpoint.interval=2', 'val_dataloader=None', 'val_cfg=None',
               'val_evaluator=None', 'model.backbone.drop_path_rate=0.3']  # fmt: skip
    main([*line, '--cfg-options', *options])
    whole = saved(work / 'iter_4.pth')
    (work / 'iter_4.pth').unlink()
    (work / 'last_checkpoint').unlink()
    # Another number of workers draws the same.
    main([*line, '--resume', '--cfg-options', *options, 'train_dataloader.num_workers=1'])
    again = saved(work / 'iter_4.pth')
    assert same(again['state_dict'], whole['state_dict'])
    assert again['meta']['seed'] == whole['meta']['seed']


def test_resume__another_number_of_classes_is_refused(tmp_path):
    root, work = make_ade(tmp_path / 'data'), tmp_path / 'run'
    line = [SEG, '--data-root', str(root), '--work-dir', str(work), '--pretrained', 'random']
    main([*line, '--cfg-options', *small(SEG)])
    (root / 'classes.txt').write_text('red\ngreen\nblue\nwhite\n')
    with pytest.raises(UsageError, match=r'decode_head.conv_seg.weight is \(3, .*\) there and \(4, .*\) here'):
        main([*line, '--resume', '--no-zero-is-class', '--cfg-options', *small(SEG)])


def test_resume__another_batch_is_refused(place):
    copied(place, 'half', 'batch')
    with pytest.raises(UsageError, match='stands at iteration 8 after 2 epochs, and an epoch has 6 iterations here'):
        run(place, 'batch', '--batch-size', '2', '--resume')


def test_resume__another_seed_is_refused(place):
    with pytest.raises(UsageError, match='that training has seed 0, not 5: leave --seed out'):
        prepare(parse_args(command(place, 'half', '--resume', '--seed', '5')))


def damaged(place, name):
    path, content = place / f'{name}.pth', saved(place / 'half/epoch_2.pth')
    if name == 'cut':
        path.write_bytes((place / 'half/epoch_2.pth').read_bytes()[:20000])
    elif name == 'flipped':
        whole = bytearray((place / 'half/epoch_2.pth').read_bytes())
        weight = content['state_dict']['encoder.blocks.0.attn.qkv.weight'].numpy().tobytes()
        whole[whole.index(weight) + 100] ^= 64
        path.write_bytes(whole)
    elif name == 'encoder':
        torch.save(content['state_dict'], path)
    elif name == 'weights':
        torch.save({'state_dict': content['state_dict'], 'meta': content['meta']}, path)
    elif name == 'progress':
        torch.save({**content, 'meta': {**content['meta'], 'epoch': 'two'}}, path)
    else:
        path.write_bytes(b'')
    return path


@pytest.mark.parametrize('name', ['cut', 'flipped', 'encoder', 'weights', 'empty', 'progress'])
def test_resume__files_that_no_training_can_go_on_from(place, name):
    with pytest.raises(UsageError, match=f'{name}.pth') as error:
        prepare(parse_args(command(place, 'half', '--resume', str(damaged(place, name)))))
    assert '\n' not in str(error.value)
    assert str(error.value).startswith('--resume')


def test_find_latest__moved_cleaned_and_torn_directories(tmp_path):
    assert find_latest(tmp_path) is None
    pointer = tmp_path / 'last_checkpoint'
    pointer.write_text('/nowhere/epoch_3.pth')
    with pytest.raises(UsageError, match=r'names /nowhere/epoch_3.pth, which is not there.* remove last_checkpoint'):
        find_latest(tmp_path)
    for number in (9, 10):
        (tmp_path / f'epoch_{number}.pth').touch()
    (tmp_path / 'epoch_11.pth.part').touch()
    # Numbers, not letters, tell which is the furthest.
    assert find_latest(tmp_path).name == 'epoch_10.pth'
    (tmp_path / 'epoch_3.pth').touch()
    assert find_latest(tmp_path).name == 'epoch_3.pth'
    for empty in ('', '\n'):
        pointer.write_text(empty)
        assert find_latest(tmp_path).name == 'epoch_10.pth'
    pointer.unlink()
    assert find_latest(tmp_path).name == 'epoch_10.pth'
    # Of a stop inside an epoch, long ago.
    (tmp_path / 'iter_500.pth').touch()
    os.utime(tmp_path / 'iter_500.pth', (1, 1))
    assert find_latest(tmp_path).name == 'epoch_10.pth'
    os.utime(tmp_path / 'iter_500.pth')
    os.utime(tmp_path / 'epoch_10.pth', (1, 1))
    assert find_latest(tmp_path).name == 'iter_500.pth'


def test_find_latest__a_copied_directory_goes_on_by_itself(tmp_path):
    for folder in ('first', 'second'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'epoch_1.pth').touch()
        (tmp_path / folder / 'last_checkpoint').write_text(str(tmp_path / 'first/epoch_1.pth'))
    assert find_latest(tmp_path / 'second') == tmp_path / 'second/epoch_1.pth'


class Signal:
    """Sends this process a signal in the given iteration."""

    def __init__(self, number, iteration):
        self.number, self.iteration = number, iteration

    def __call__(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_signal__saves_inside_an_epoch_and_goes_on_exactly(place, number, code, monkeypatch):
    from mmengine.hooks import IterTimerHook

    name, before, options = f'signal_{code}', signal.getsignal(number), []
    if code == 143:
        # Bit by bit where data workers draw the crops.
        options = ['--cfg-options', 'train_dataloader.num_workers=1']
        run(place, 'workers', *options)
    send, timed = Signal(number, 6), IterTimerHook._before_iter
    with monkeypatch.context() as patch:
        patch.setattr(IterTimerHook, 'before_train_iter', lambda self, runner, batch_idx, data_batch=None: (
            timed(self, runner, batch_idx, data_batch), send(runner, batch_idx)), raising=False)  # fmt: skip
        with pytest.raises(SystemExit) as end:
            run(place, name, *options)
    assert end.value.code == code
    assert signal.getsignal(number) == before
    folder = place / name
    assert (folder / 'last_checkpoint').read_text().endswith('iter_6.pth')
    assert saved(folder / 'iter_6.pth')['meta']['epoch'] == 1
    run(place, name, '--resume', *options)
    last = saved(folder / 'epoch_4.pth')
    assert last['meta']['iter'] == 16
    assert logged(folder) == logged(place / 'whole')
    if code == 143:
        assert same(last['state_dict'], saved(place / 'workers/epoch_4.pth')['state_dict'])
    assert {int(state['step']) for state in last['optimizer']['state'].values()} == {16}


def test_checkpoints__disk_full(place, monkeypatch):
    import mmengine.fileio.backends.local_backend as backend

    def put(self, content, path):
        with open(path, 'wb') as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, 'No space left on device')

    original = backend.LocalBackend.put
    folder = copied(place, 'half', 'full')
    monkeypatch.setattr(backend.LocalBackend, 'put', put)
    with pytest.raises(UsageError, match=r'epoch_3.pth cannot be written: No space left on device') as error:
        run(place, 'full', '--epochs', '3', '--resume')
    assert '\n' not in str(error.value)
    assert sorted(path.name for path in folder.glob('*.pth*')) == ['epoch_1.pth', 'epoch_2.pth']
    assert find_latest(folder).name == 'epoch_2.pth'
    monkeypatch.setattr(backend.LocalBackend, 'put', original)
    run(place, 'full', '--epochs', '3', '--resume')
    assert (folder / 'epoch_3.pth').is_file()


def test_checkpoints__the_old_one_goes_after_the_new_one_is_there(place, monkeypatch):
    seen, replaced = [], os.replace

    def replace(part, path):
        seen.append((re.sub(r'.*/', '', str(path)), sorted(each.name for each in (place / 'one').glob('*.pth'))))
        replaced(part, path)

    monkeypatch.setattr('backbones.engine.resume.saving.os.replace', replace)
    run(place, 'one', '--epochs', '3', '--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=1')
    assert seen == [
        ('epoch_1.pth', []),
        ('last_checkpoint', ['epoch_1.pth']),
        ('epoch_2.pth', ['epoch_1.pth']),
        ('last_checkpoint', ['epoch_2.pth']),
        ('epoch_3.pth', ['epoch_2.pth']),
        ('last_checkpoint', ['epoch_3.pth']),
    ]


def test_check_resumable__published_recipes(place):
    cfg, _ = prepare(parse_args(command(place, 'half')))
    assert check_resumable(cfg, place / 'half/epoch_2.pth')['iter'] == 8
