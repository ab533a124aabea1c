"""Fine-tuning from the command line on drawn images: train, resume, test, go on at a higher resolution, transfer."""

import json
import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from backbones.console.errors import UsageError
from downstream.cli.test import main as evaluate
from downstream.cli.train import main as train
from pretrain.data.class_transforms import EvalTransform
from pretrain.data.labelled import LabelledImages
from tests.conftest import ROOT
from tests.datasets import make_folders

CONFIGS = ROOT / 'pretrain/configs'
TINY = str(CONFIGS / 'finetune_tiny.py')
PARTS = ('train', 'val', 'test')
SHORT = [
    *(f'{part}_dataloader.num_workers=0' for part in PARTS),
    'train_dataloader.batch_size=4',
    'val_dataloader.batch_size=3',
    'param_scheduler.0.end=0.7',
    'param_scheduler.1.begin=0.7',
    'default_hooks.logger.interval=1',
]
SMALL = 'variant=dict(embed_dim=24, depth=2, num_heads=3)'


def small(folder, name, *changes):
    """Write finetune_tiny.py for a ViT of two blocks, with further replacements of its text."""
    text = (CONFIGS / 'finetune_tiny.py').read_text()
    for old, new in (("variant='tiny'", SMALL), ("'_base_/", f"'{CONFIGS}/_base_/"), *changes):
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text)
    return str(folder / name)


def sized(size, *more):
    sizes = [f'{part}_dataloader.dataset.transform.size={size}' for part in PARTS]
    return ['--cfg-options', *SHORT, f'model.backbone.img_size={size}', *sizes, *more]


def classifier_of(folder, size):
    """Model config of ``small`` for images of a size."""
    model = Config.fromfile(folder / 'small.py').model
    model.update(num_classes=3)
    model.backbone.update(img_size=size)
    return model


def logged(work_dir, key):
    lines = []
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        lines += [json.loads(line) for line in file.read_text().splitlines()]
    return [line[key] for line in lines if key in line]


def weights(path):
    return torch.load(path, weights_only=False)['state_dict']


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """One epoch, then a second one resumed."""
    folder = tmp_path_factory.mktemp('finetune')
    root = str(make_folders(folder / 'data'))
    command = [small(folder, 'small.py'), '--data-root', root, '--work-dir', str(folder / 'run')]
    train([*command, '--pretrained', 'random', *sized(32, 'train_cfg.max_epochs=1')])
    train([*command, '--resume', *sized(32, 'train_cfg.max_epochs=2')])
    return folder


@pytest.mark.slow
def test_train__checkpoints_and_logs(trained):
    first = torch.load(trained / 'run/epoch_1.pth', weights_only=False)
    assert first['meta']['dataset_meta']['classes'] == ('blue', 'green', 'red')
    assert first['state_dict']['head.weight'].shape == (3, 24)
    # 12 images in batches of 4, once and once more.
    assert len(logged(trained / 'run', 'loss')) == 6
    assert len(logged(trained / 'run', 'accuracy/top1')) == 2


@pytest.mark.slow
def test_average__is_what_is_stored_and_tested(trained):
    checkpoint = torch.load(trained / 'run/epoch_2.pth', weights_only=False)
    averaged, last = checkpoint['state_dict'], checkpoint['ema_state_dict']
    assert not torch.equal(averaged['head.weight'], last['module.head.weight'])
    evaluate([str(trained / 'small.py'), str(trained / 'run/epoch_2.pth'), '--data-root', str(trained / 'data'),
              '--work-dir', str(trained / 'test'), *sized(32)])  # fmt: skip
    metrics = json.loads((trained / 'test/metrics.json').read_text())
    # Three classes leave no top-5.
    names = ('accuracy/top1', 'accuracy/class_mean')
    assert metrics == {name: pytest.approx(logged(trained / 'run', name)[-1]) for name in names}


@pytest.mark.slow
def test_higher_resolution__goes_on_with_the_head(trained):
    keep = ('ema=__average', "ema=__average, keep_head=dict(type='KeepHead')")
    command = [small(trained, 'high.py', keep), '--data-root', str(trained / 'data'), '--work-dir',
               str(trained / 'high'), '--pretrained', str(trained / 'run/epoch_2.pth')]  # fmt: skip
    # A rate of zero, so that what is evaluated is what was loaded.
    train([*command, *sized(48, 'train_cfg.max_epochs=1', 'optim_wrapper.optimizer.lr=0.0')])
    old, new = weights(trained / 'run/epoch_2.pth'), weights(trained / 'high/epoch_1.pth')
    assert old['head.weight'].any()
    assert {name for name in old if not torch.equal(old[name], new[name])} == {'backbone.pos_embed'}
    # (1, 4, D) -> (1, D, 2, 2) -> (1, D, 3, 3) -> (1, 9, D)
    places = old['backbone.pos_embed'][:, 1:].transpose(1, 2).reshape(1, -1, 2, 2)
    places = torch.nn.functional.interpolate(places, (3, 3), mode='bicubic').flatten(2).transpose(1, 2)
    expected = torch.cat([old['backbone.pos_embed'][:, :1], places], dim=1)
    torch.testing.assert_close(new['backbone.pos_embed'], expected, rtol=0, atol=1e-6)

    # The model of 32 pixels resamples at run time.
    small_model, large_model = (MODELS.build(classifier_of(trained, size)).eval() for size in (32, 48))
    small_model.load_state_dict(old)
    large_model.load_state_dict(new)
    data = LabelledImages(str(trained / 'data/val'), EvalTransform(48))
    batch = {'inputs': torch.stack([data[index]['inputs'] for index in range(len(data))])}
    images = small_model.data_preprocessor(batch)['inputs']
    with torch.no_grad():
        logits, resampled = large_model(images), small_model(images)
    torch.testing.assert_close(logits, resampled, rtol=0, atol=1e-4 * logits.abs().max().item())
    right = [int(row.argmax()) == label for row, label in zip(logits, data.labels, strict=True)]
    assert logged(trained / 'high', 'accuracy/top1') == [pytest.approx(100 * sum(right) / len(right))]


@pytest.mark.slow
def test_transfer__other_classes_get_a_fresh_head(trained, tmp_path):
    root = make_folders(tmp_path)
    for part in ('train', 'val'):
        shutil.rmtree(root / part / 'red')
    command = [str(trained / 'small.py'), '--data-root', str(root), '--work-dir', str(tmp_path / 'run')]
    train([*command, '--pretrained', str(trained / 'run/epoch_2.pth'),
           *sized(32, 'train_cfg.max_epochs=1', 'optim_wrapper.optimizer.lr=0.0', 'param_scheduler.0.start_factor=1.0',
                  'param_scheduler.0.end=0.5', 'param_scheduler.1.begin=0.5')])  # fmt: skip
    old, new = weights(trained / 'run/epoch_2.pth'), weights(tmp_path / 'run/epoch_1.pth')
    assert new['head.weight'].shape == (2, 24)
    assert not new['head.bias'].any()
    assert all(torch.equal(value, new[name]) for name, value in old.items() if name.startswith('backbone.'))


def test_mistakes(tmp_path):
    root = make_folders(tmp_path / 'data')
    with pytest.raises(UsageError, match='there is no such directory'):
        train([TINY, '--data-root', str(root / 'lost')])
    with pytest.raises(UsageError, match=r'pretrained weights lost\.pth: there is no such file'):
        train([TINY, '--data-root', str(root), '--pretrained', 'lost.pth'])
    shutil.rmtree(root / 'val')
    with pytest.raises(UsageError, match=r'has no val part\. Known layouts'):
        train([TINY, '--data-root', str(root)])
