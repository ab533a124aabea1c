"""The papers' base models at full size on CPU: one training step and one evaluation each."""

import json
import math

import pytest

from tests.conftest import ROOT
from tests.datasets import make_ade, make_coco
from tests.tools.test_train import LOADERS, scalars
from tools.train import main

ONCE = [
    *LOADERS,
    'default_hooks.logger.interval=1',
    # A checkpoint of these models weighs more than a gigabyte.
    'default_hooks.checkpoint.interval=9',
    'default_hooks.checkpoint.save_last=False',
    'default_hooks.checkpoint.save_best=None',
    # Less than 16 GB at the price of a second forward pass.
    'model.backbone.act_checkpoint=True',
]
CASES = {
    'mask_rcnn_vit_base': ('det_configs', make_coco, 'coco/bbox_mAP', ['--batch-size', '1', '--norm', 'LN2d']),
    'upernet_vit_base': ('seg_configs', make_ade, 'mIoU', ['--batch-size', '2']),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(CASES))
def test_full_size__step_and_evaluation(name, tmp_path):
    folder, make, metric, options = CASES[name]
    root = make(tmp_path / 'data', sizes=(2, 1))
    main([str(ROOT / folder / f'{name}.py'), '--data-root', str(root), '--work-dir', str(tmp_path / 'run'),
          '--pretrained', 'random', '--iters', '1', *options, '--cfg-options', *ONCE])  # fmt: skip
    logged = scalars(tmp_path / 'run')
    losses = [line['loss'] for line in logged if 'loss' in line]
    assert len(losses) == 1
    assert math.isfinite(losses[0])
    assert len([line for line in logged if metric in line]) == 1
    assert json.loads((tmp_path / 'run/versions.json').read_text())['torch']
