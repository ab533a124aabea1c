"""The online probe: its figures, and that the training does not notice it."""

import json
import random
import re

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from pretrain.data.class_transforms import EvalTransform
from pretrain.data.labelled import LabelledImages
from pretrain.evaluation.features import pooled_features
from pretrain.evaluation.knn import knn_accuracy
from pretrain.evaluation.online_probe import OnlineProbe
from pretrain.evaluation.ridge import ridge_accuracy
from tests.conftest import ROOT
from tests.datasets import make_folders
from tests.helpers import randomise


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp('crops'), sizes=(6, 3))


@pytest.fixture(scope='module')
def noise(tmp_path_factory):
    """Three classes that hardly differ, so that no figure is at its end."""
    root = tmp_path_factory.mktemp('noise')
    rng = np.random.default_rng(0)
    for part, count in (('train', 8), ('val', 20)):
        for label in range(3):
            (root / part / str(label)).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 200, (32, 32, 3)) + 4 * label
                cv2.imwrite(str(root / part / str(label) / f'{index}.png'), pixels.astype(np.uint8))
    return root


def runner_for(folder, work_dir, hooks, epochs=3):
    cfg = Config.fromfile(ROOT / 'pretrain/configs/mae_tiny.py')
    cfg.merge_from_dict(
        {
            'work_dir': str(work_dir),
            'model.encoder.img_size': 32,
            'model.encoder.drop_path_rate': 0.5,
            'model.decoder': dict(embed_dim=16, depth=1, num_heads=2),
            'train_dataloader.dataset.crop_size': 32,
            'train_dataloader.dataset.data_root': [str(folder / 'train')],
            'train_dataloader.batch_size': 6,
            'train_dataloader.num_workers': 0,
            'train_cfg.max_epochs': epochs,
            'param_scheduler.0.end': 1,
            'param_scheduler.1.begin': 1,
            'default_hooks.logger.interval': 1,
            'experiment_name': f'{work_dir.parent.name}_{work_dir.name}',
        }
    )
    cfg.model.encoder.variant = dict(embed_dim=24, depth=2, num_heads=3)
    # Nothing seeds the epochs anew, so that a single number drawn by the hook would show.
    cfg.custom_hooks = hooks
    return Runner.from_cfg(cfg)


def scalars(work_dir):
    file = next(work_dir.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [(line['step'], line['probe/knn'], line['probe/ridge']) for line in lines if 'probe/knn' in line]


def end(runner):
    """Weights, optimizer and all random states at the end of training."""
    runner.train()
    moments = runner.optim_wrapper.optimizer.state_dict()['state']
    values = [*runner.model.state_dict().values(), *(each['exp_avg_sq'] for each in moments.values())]
    return values, (torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state()))


@pytest.mark.parametrize(
    ('options', 'steps', 'moments'),
    [
        (dict(interval=2), [6, 9], ['epoch 2', 'epoch 3']),
        (dict(interval=4, by_epoch=False), [4, 8, 9], ['iteration 4', 'iteration 8', 'iteration 9']),
    ],
)
def test_online_probe__training_does_not_notice_it(folder, tmp_path, options, steps, moments):
    hook = dict(type='OnlineProbe', data_root=str(folder), neighbours=4, **options)
    plain, state = end(runner_for(folder, tmp_path / 'plain', []))
    probed, probed_state = end(runner_for(folder, tmp_path / 'probed', [hook]))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(probed, plain, strict=True))
    assert probed_state == state
    # 18 images in batches of 6, 3 epochs: every so often, and at the end.
    assert [step for step, *_ in scalars(tmp_path / 'probed')] == steps
    log = next((tmp_path / 'probed').glob('*/*.log')).read_text()
    assert re.findall(r'(\w+ \d+): probe/knn', log) == moments


@pytest.fixture
def model(folder, tmp_path):
    built = runner_for(folder, tmp_path / 'run', []).model
    randomise(built.encoder)
    return built


@torch.no_grad()
def test_look__figures_of_the_encoder_as_it_is(noise, model):
    model.train()
    modes = [part.training for part in model.modules()]
    found = OnlineProbe(noise, neighbours=4).look(model)
    assert [part.training for part in model.modules()] == modes
    model.encoder.eval()
    parts = []
    for part in ('train', 'val'):
        data = LabelledImages(str(noise / part), EvalTransform(32))
        batch = torch.stack([data[index]['inputs'] for index in range(len(data))]).float()
        mean, std = (torch.tensor(each)[:, None, None] for each in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]))
        parts.append((pooled_features(model.encoder, (batch - mean) / std), torch.tensor(data.labels)))
    assert found['probe/knn'] == pytest.approx(knn_accuracy(*parts, (4,))[4])
    assert found['probe/ridge'] == pytest.approx(ridge_accuracy(*parts))
    assert all(20 < value < 90 for value in found.values())


@pytest.mark.parametrize('option', [dict(neighbours=18), dict(ridge=1e4), dict(pool='class'), dict(pool='both')])
def test_look__options_change_the_figures(noise, model, option):
    base = OnlineProbe(noise, neighbours=4).look(model)
    assert OnlineProbe(noise, **{'neighbours': 4, **option}).look(model) != base


def test_online_probe__absent_images():
    with pytest.raises(ValueError, match="no directory 'lost'"):
        OnlineProbe('lost')
