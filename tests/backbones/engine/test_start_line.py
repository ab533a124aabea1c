"""What a training says of itself, and the crops of an image in its learning rate, through the command line."""

import pytest
import torch

from downstream.cli.train import main as train
from tests.conftest import ROOT
from tests.pretrain.data.test_unlabelled import write_images


@pytest.mark.parametrize('repeats', [1, 4])
def test_lr__counts_the_crops_of_each_image(tmp_path, repeats, capfd):
    """1.5e-4 for 256 images: of 2 x 4 crops as of 8 images."""
    write_images(tmp_path / 'images', 16)
    options = [
        *('model.encoder.img_size=32', 'train_dataloader.dataset.crop_size=32', 'train_dataloader.num_workers=0'),
        *(f'train_dataloader.dataset.repeats={repeats}', f'train_dataloader.batch_size={8 // repeats}'),
        *('train_dataloader.collate_fn.type=flatten_repeats',) * (repeats > 1),
        *('param_scheduler.0.end=1', 'param_scheduler.1.begin=1', 'train_cfg.max_epochs=2'),
        'default_hooks.checkpoint.interval=2',
    ]
    config = str(ROOT / 'pretrain/configs/mae_tiny.py')
    train(
        [
            config,
            '--data-root',
            str(tmp_path / 'images'),
            '--work-dir',
            str(tmp_path / 'run'),
            '--cfg-options',
            *options,
        ]
    )
    saved = torch.load(tmp_path / 'run' / 'epoch_2.pth', weights_only=False)
    rates = {group['initial_lr'] for group in saved['optimizer']['param_groups']}
    assert list(rates) == pytest.approx([1.5e-4 * 8 / 256])
    told = capfd.readouterr()
    line = told.out + told.err
    assert ('the lr counts 4 crops of each image' in line) == (repeats == 4)
    assert f'effective batch 8 (1 processes x {8 // repeats} images' in line
    assert '(0.00015 for 256 images, scaled)' in line
    assert 'is scaled to' not in line
