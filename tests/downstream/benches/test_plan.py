"""The memory planner: against memory measured, against arithmetic, and from the command line."""

import pytest
import torch
from mmengine.config import Config

from backbones.console.errors import UsageError
from backbones.engine.launch.config import read_config
from downstream.benches.measure import peak_mib
from downstream.benches.plan import GIB, Need, Setting, build, find_need, image_size, peak_bytes
from downstream.cli import benchmark
from pretrain.methods.targets import Views
from tests.conftest import ROOT

PLAIN = Setting(bf16=False, act_checkpoint=False)
CONFIGS = ROOT / 'pretrain/configs'
MAE = CONFIGS / 'mae_tiny.py'


def short_mae():
    """MAE with an encoder as wide as the shipped one, but of few blocks."""
    cfg = read_config(MAE)
    cfg.model.encoder.variant = dict(embed_dim=192, depth=3, num_heads=3)
    return cfg


@pytest.mark.parametrize('recomputed', [False, True])
def test_peak_bytes__equals_what_a_real_step_allocates(recomputed):
    cfg = short_mae()
    model = build(cfg, recomputed)
    images = torch.randn(3, 3, 96, 128)
    measured = peak_mib(lambda: model.losses(Views(images, 16))['loss'].backward()) * 2**20
    weights = 4 * sum(p.numel() for p in model.parameters()) + 4 * sum(b.numel() for b in model.buffers())
    peak, trained = peak_bytes(cfg, Setting(False, recomputed), 3, (96, 128))
    assert peak == pytest.approx(measured + weights + images.nbytes, rel=0.03)
    assert trained == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_find_need__less_by_bf16_and_by_recomputing():
    cfg = short_mae()
    settings = (PLAIN, Setting(True, False), Setting(True, True))
    plain, bf16, recomputed = (find_need(cfg, setting, (224, 224)).per_image for setting in settings)
    assert plain > 1.3 * bf16
    assert bf16 > 1.05 * recomputed


def test_find_need__foretells_another_batch():
    cfg = short_mae()
    need = find_need(cfg, PLAIN, (224, 288))
    peak, trained = peak_bytes(cfg, PLAIN, 7, (224, 288))
    assert need.fixed + 7 * need.per_image == pytest.approx(peak, rel=0.02)
    assert need.trained == trained


@pytest.mark.slow
@pytest.mark.parametrize('path', ['det_configs/mask_rcnn_vit_tiny.py', 'seg_configs/upernet_vit_tiny.py'])
def test_find_need__heads_count(path):
    cfg = read_config(ROOT / path)
    cfg.model.backbone.update(variant=dict(embed_dim=192, depth=4, num_heads=3), out_indices=(0, 1, 2, 3))
    need = find_need(cfg, PLAIN, (128, 160))
    parameters = sum(p.numel() for p in build(cfg, False).parameters())
    assert need.trained <= parameters
    assert need.fixed > 3.9 * parameters
    # a map of stride 4 and 256 channels alone
    assert need.per_image > 4 * 256 * 32 * 40


@pytest.mark.slow
def test_find_need__beit_needs_no_tokenizer_file():
    cfg = read_config(ROOT / 'pretrain/configs/beit_tiny.py')
    cfg.model.encoder.variant = dict(embed_dim=192, depth=3, num_heads=3)
    assert find_need(cfg, PLAIN, (64, 96)).per_image > 0


def test_need__arithmetic():
    need = Need(trained=GIB, fixed=2 * GIB, per_image=3 * GIB)
    # 2 + 3 + 8 < 16 GiB: the update is the worst moment
    assert need.gib(1) == pytest.approx(1 + 1.1 * 16)
    assert need.gib(4) == pytest.approx(1 + 1.1 * 22)
    assert need.largest_batch(1 + 1.1 * 22.5) == 4
    assert need.largest_batch(1 + 1.1 * 16) == 2
    assert need.largest_batch(18) == 0


@pytest.mark.parametrize(
    ('path', 'size'),
    [
        ('pretrain/configs/mae_tiny.py', (224, 224)),
        ('seg_configs/upernet_beit_base.py', (640, 640)),
        ('det_configs/mask_rcnn_vitdet_base.py', (1024, 1024)),
    ],
)
def test_image_size__of_the_config(path, size):
    assert image_size(read_config(ROOT / path)) == size


def test_image_size__unknown():
    with pytest.raises(ValueError, match='give --size'):
        image_size(Config(dict(model=dict(), train_dataloader=dict(dataset=dict()))))


def test_main__plan(tmp_path, capsys):
    short_mae().dump(tmp_path / 'mae.py')
    benchmark.main(['plan', str(tmp_path / 'mae.py'), '--gpu-memory', '2', '--size', '64', '96'])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('images of 64 x 96, AdamW, 2 GiB')
    assert [line.split(' | ')[0] for line in lines[3:]] == [
        '| bf16', '| bf16, act_checkpoint', '| float32', '| float32, act_checkpoint'
    ]  # fmt: skip
    assert all(' | yes | ' in line for line in lines[3:])


def test_main__plan_of_something_else():
    with pytest.raises(UsageError, match='not Classifier'):
        benchmark.main(
            ['plan', str(ROOT / 'pretrain/configs/finetune_tiny.py'), '--gpu-memory', '2', '--size', '64', '64']
        )
