"""The papers' base models, whole, on CPU: one training step and one evaluation each.

Their crops are smaller than the papers': a step takes ten times as long at those, and sizes may differ.
"""

import json
import math

import pytest

from downstream.cli.train import main
from tests.conftest import ROOT
from tests.datasets import make_ade, make_coco
from tests.downstream.cli.test_train import LOADERS, scalars

ONCE = [
    *LOADERS,
    'default_hooks.logger.interval=1',
    # A checkpoint of these models weighs more than a gigabyte.
    'default_hooks.checkpoint.interval=9',
    'default_hooks.checkpoint.save_last=False',
    'default_hooks.checkpoint.save_best=None',
]
CASES = {
    'mask_rcnn_vit_base': ('det_configs', make_coco, 'coco/bbox_mAP', '320'),
    'upernet_vit_base': ('seg_configs', make_ade, 'mIoU', '160'),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(CASES))
def test_full_size__step_and_evaluation(name, tmp_path):
    folder, make, metric, size = CASES[name]
    root = make(tmp_path / 'data', sizes=(1, 1))
    main([str(ROOT / folder / f'{name}.py'), '--data-root', str(root), '--work-dir', str(tmp_path / 'run'),
          '--pretrained', 'random', '--iters', '1', '--batch-size', '1', '--norm', 'LN2d', '--img-size', size,
          '--cfg-options', *ONCE])  # fmt: skip
    logged = scalars(tmp_path / 'run')
    losses = [line['loss'] for line in logged if 'loss' in line]
    assert len(losses) == 1
    assert math.isfinite(losses[0])
    assert len([line for line in logged if metric in line]) == 1
    assert json.loads((tmp_path / 'run/versions.json').read_text())['torch']
