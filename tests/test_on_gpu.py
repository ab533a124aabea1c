"""Every family's training, predictions, hooks and metrics on a GPU that is pretended: no tensor is left on the CPU.

The data lie on the CPU, as loaders give them, and come to the GPU by the data preprocessor. PyTorch's fake tensors
would not do: detectors and segmentors choose boxes and pixels by values, masks are drawn until enough is masked.
"""

import importlib
from typing import Any

import mmengine.device.utils
import pytest
import torch
from mmengine.registry import METRICS, DefaultScope
from mmengine.structures import BaseDataElement
from torch import Tensor

from downstream.cli.train import main
from pretrain.evaluation.knn import knn_accuracy
from pretrain.evaluation.layer_probe import layer_accuracies
from pretrain.evaluation.probe import ProbeRecipe, probe_accuracy
from pretrain.evaluation.ridge import ridge_accuracy
from pretrain.methods.masked_model import MaskedImageModel
from pretrain.methods.targets import PixelTarget
from pretrain.pictures.restored import reconstruct
from tests.conftest import ROOT
from tests.datasets import make_folders
from tests.golden.families import CLASSES, FAMILIES, build, drawn_data, drawn_images, scope_of
from tests.pretended_gpu import pretended_gpu

PREDICTING = [family for family in FAMILIES if family != 'tokenizer']
RESTORING = ['mae', 'beit', 'simmim', 'denoising']
RUNS: dict[str, list[str]] = {
    'mae_tiny': ["custom_hooks=[dict(type='OnlineProbe',data_root='{root}',neighbours=1)]"],
    'tokenizer_tiny': ['default_hooks.watch_codebook.begin=1'],
    'linear_tiny': ['val_dataloader.num_workers=0'],
}


def tensors(value: Any) -> list[Tensor]:
    """All tensors in what a model gives."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, BaseDataElement):
        value = list(value.all_values())
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for each in value for tensor in tensors(each)] if isinstance(value, list | tuple) else []


def step(family: str, device: torch.device | None) -> dict[str, Tensor]:
    """Losses of one training step, masks and noise by the seed."""
    torch.manual_seed(0)
    model, wrapper = build(family)
    model.to(device or 'cpu')
    torch.manual_seed(1)
    losses = model.train_step(drawn_data(family), wrapper)
    states = [value for state in wrapper.optimizer.state.values() for value in state.values() if value.ndim]
    # The linear probe adds up gradients before its first update.
    assert states or family == 'linear probe'
    assert {value.is_cuda for value in (*model.parameters(), *states)} == {device is not None}
    return losses


@pytest.mark.parametrize('family', FAMILIES)
def test_training_step__every_family(family):
    with pretended_gpu() as device:
        losses = step(family, device)
        assert all(loss.device == device for loss in losses.values())
    expected = step(family, None)
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(
        {name: loss.item() for name, loss in expected.items()}, rel=2e-3 if family == 'mask r-cnn' else 1e-4
    )


@pytest.mark.parametrize('family', PREDICTING)
def test_predictions__every_family(family):
    model = build(family)[0].eval()
    found = []
    with pretended_gpu() as device:
        for place in (torch.device('cpu'), device):
            torch.manual_seed(2)
            with torch.no_grad():
                samples = model.to(place).val_step(drawn_data(family))
            predicted = tensors([dict(sample.items()) for sample in samples])
            assert {tensor.device for tensor in predicted} <= {place} and len(samples) == 4
            found.append([tensor.cpu().double() for tensor in predicted])
    assert len(found[0]) >= 4
    for expected, actual in zip(*found, strict=True):
        # Which of two near boxes is kept hangs on the last digits of their scores.
        others = ((actual - expected).abs() > 1e-3 * (1 + expected.abs())).double().mean()
        assert actual.shape == expected.shape and others <= (0.1 if scope_of(family) == 'mmdet' else 0)


@pytest.mark.parametrize('kind', ['random', 'block', 'grid'])
def test_masks__every_kind(kind):
    model = build('mae')[0]
    with pretended_gpu() as device:
        model.to(device).mask = kind
        mask = model.draw_mask(drawn_images().to(device))
        assert mask.device == device and mask.sum(dim=1).tolist() == 4 * [27]
        assert model(**model.data_preprocessor({'inputs': drawn_images()}), mode='loss')['loss'].device == device


@pytest.mark.parametrize('family', RESTORING)
def test_pictures__of_what_is_predicted(family):
    model, images = build(family)[0].eval(), drawn_images()
    expected = reconstruct(model, images)
    with pretended_gpu() as device:
        found = reconstruct(model.to(device), images)
        for (title, actual), (same, tile) in zip(found, expected, strict=True):
            assert title == same and actual.is_cpu and (actual.int() - tile.int()).abs().max() <= 1


def metric_of(family: str, meta: dict[str, Any]) -> Any:
    """A metric of a family's evaluation."""
    scope = scope_of(family)
    kinds = {'mmdet': dict(type='CocoMetric', metric=['bbox', 'segm']), 'mmseg': dict(type='IoUMetric')}
    if scope != 'mmengine':
        importlib.import_module(f'{scope}.evaluation')
    with DefaultScope.overwrite_default_scope(scope):
        metric = METRICS.build(kinds.get(scope, dict(type='ClassAccuracy')))
    metric.dataset_meta = meta
    return metric


@pytest.mark.parametrize('family', ['fine-tuned beit', 'upernet mae', 'mask r-cnn'])
def test_metrics__of_predictions_there(family):
    model = build(family)[0].eval()
    metric = metric_of(family, dict(classes=tuple('abcde')))
    with pretended_gpu() as device:
        data = drawn_data(family)
        if family == 'mask r-cnn':
            for index, sample in enumerate(data['data_samples']):
                sample.set_metainfo(dict(img_id=index, instances=[]))
        with torch.no_grad():
            samples = model.to(device).val_step(data)
        metric.process(data, [sample.to_dict() for sample in samples])
        if family == 'mask r-cnn':
            assert [len(found['scores']) > 0 for _, found in metric.results] == 4 * [True]
        else:
            assert all(0 <= value <= 100 for value in metric.compute_metrics(metric.results).values())


def test_protocols__of_features_there():
    features, labels = torch.randn(1, 40, 3, 6), torch.arange(40) % CLASSES
    features[..., 0] += 3 * labels[None, :, None]
    recipe = ProbeRecipe(rates=(0.1, 1.0), epochs=3, batch_size=16)

    def figures(features: Tensor, labels: Tensor) -> list[Any]:
        train, val = (features[:, :, 0], labels), (features[0, :, 1], labels)
        return [
            knn_accuracy((train[0][0], labels), val, (1, 5)),
            ridge_accuracy((train[0][0], labels), val),
            probe_accuracy(train, val, recipe, seed=0),
            layer_accuracies((features, labels), (features[0], labels), 0, epochs=2, batch_size=16),
        ]

    expected = figures(features, labels)
    with pretended_gpu() as device:
        assert figures(features.to(device), labels.to(device)) == expected


@pytest.mark.slow
@pytest.mark.parametrize('name', RUNS)
def test_run__every_hook_and_metric(name, tmp_path, monkeypatch, capsys):
    root = make_folders(tmp_path / 'data')
    monkeypatch.setattr(mmengine.device.utils, 'DEVICE', 'cuda')
    labelled = name == 'linear_tiny'
    # The streams of the hook that copies ahead need a driver; its tests have some of their own.
    options = ['default_hooks.prefetch=None', 'train_dataloader.num_workers=0', 'default_hooks.logger.interval=1']
    options += [option.format(root=root) for option in RUNS[name]]
    with pretended_gpu():
        main([str(ROOT / f'pretrain/configs/{name}.py'), '--data-root', str(root if labelled else root / 'train'),
              '--work-dir', str(tmp_path / 'run'), '--epochs', '1', '--batch-size', '4',
              *(['--pretrained', 'random'] if labelled else []), '--cfg-options', *options])  # fmt: skip
    assert 'loss: ' in capsys.readouterr().out
    saved = torch.load(tmp_path / 'run/epoch_1.pth', map_location='cpu', weights_only=True)
    assert saved['meta']['epoch'] == 1


def planted(self: PixelTarget, prediction: Tensor, places: Tensor, views: Any) -> dict[str, Tensor]:
    """A loss with weights that were left on the CPU."""
    return {'loss': (prediction.flatten(0, 1).mean(dim=0)[:3] * torch.zeros(3)).sum()}


def test_cpu_tensor_in_a_loss__is_found(monkeypatch):
    monkeypatch.setattr(PixelTarget, 'losses', planted)
    step('mae', None)
    with pretended_gpu() as device, pytest.raises(RuntimeError, match=r'\(3,\)\] are on the CPU'):
        step('mae', device)


def test_cpu_mask__is_found(monkeypatch):
    draw = MaskedImageModel.draw_mask
    monkeypatch.setattr(MaskedImageModel, 'draw_mask', lambda self, images: draw(self, images.cpu()))
    with pretended_gpu() as device, pytest.raises(RuntimeError, match='on the CPU'):
        step('beit', device)
