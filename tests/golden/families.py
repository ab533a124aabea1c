"""Every kind of training that the shipped configs do, with tiny models and drawn data, one step in milliseconds.

``python -m tests.golden.families`` writes ``losses.json`` anew: after a change that is meant to alter training only.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData

import pretrain  # noqa: F401  (registers)
from pretrain.tokenizer.dvae import DiscreteVAE
from tests.helpers import randomise

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name('losses.json')
FAMILIES = {
    'mae': 'pretrain/configs/mae_tiny.py',
    'beit': 'pretrain/configs/beit_tiny.py',
    'simmim': 'pretrain/configs/simmim_tiny.py',
    'denoising': 'pretrain/configs/dae_tiny.py',
    'tokenizer': 'pretrain/configs/tokenizer_tiny.py',
    'fine-tuned mae': 'pretrain/configs/finetune_tiny.py',
    'fine-tuned beit': 'pretrain/configs/finetune_beit_base.py',
    'linear probe': 'pretrain/configs/linear_base.py',
    'mask r-cnn': 'det_configs/mask_rcnn_vit_base.py',
    'vitdet': 'det_configs/mask_rcnn_vitdet_base.py',
    'upernet mae': 'seg_configs/upernet_vit_base.py',
    'upernet beit': 'seg_configs/upernet_beit_base.py',
}
SIDE, WIDTH, CLASSES, BATCH = 96, 32, 5, 4
SMALLER: dict[str, Any] = {
    'variant': dict(embed_dim=WIDTH, depth=4, num_heads=2),
    'img_size': SIDE,
    'pretrain_img_size': 64,
    'window_size': 4,
    'global_blocks': (1, 3),
    'out_indices': (0, 1, 2, 3),
    'init_cfg': None,
    'decoder': dict(embed_dim=WIDTH, depth=1, num_heads=2),
    'num_classes': CLASSES,
    'pad_size_divisor': 32,
    'size': (SIDE, SIDE),
    'nms_pre': 100,
    'max_per_img': 40,
    # More than there are anchors and proposals, and nothing dropped: such draws differ from PyTorch to PyTorch.
    'num': 4096,
    'drop_path_rate': 0.0,
    'dropout_ratio': 0.0,
    'vocab_size': 32,
    'hidden': 8,
}


def smaller(settings: Any) -> Any:
    """The same model with `WIDTH` channels everywhere, on images of `SIDE` pixels, without several processes."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            if key in SMALLER:
                settings[key] = SMALLER[key]
            elif key.endswith('channels'):
                settings[key] = [WIDTH] * len(value) if isinstance(value, list | tuple) else min(value, WIDTH)
            else:
                settings[key] = smaller(value)
    elif isinstance(settings, list | tuple):
        return type(settings)(smaller(value) for value in settings)
    elif settings in ('SyncBN', 'syncbn'):
        return settings.replace('Sync', '').replace('sync', '')
    return settings


def scope_of(family: str) -> str:
    """Package whose registry a family's config names things in."""
    return {'det': 'mmdet', 'seg': 'mmseg', 'pre': 'mmengine'}[FAMILIES[family][:3]]


def build(family: str) -> tuple[BaseModel, OptimWrapper]:
    """Model and optimizer of a family's config, made smaller, with random weights everywhere.

    Not the model's own: `torch.nn.init` draws other numbers in another PyTorch.
    """
    cfg = Config.fromfile(ROOT / FAMILIES[family])
    model_cfg = ConfigDict(smaller(cfg.model))
    if family == 'vitdet':
        model_cfg.neck.out_channels = WIDTH
    if family == 'beit':
        model_cfg.target.tokenizer = DiscreteVAE(32, hidden=8, blocks=1)
    scope = scope_of(family)
    if scope != 'mmengine':
        importlib.import_module(f'{scope}.models')
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(model_cfg)
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    return randomise(model, buffers=False).train(), wrapper


def drawn_images(batch: int = BATCH, side: int = SIDE) -> torch.Tensor:
    """Coloured clouds, uint8 (B, 3, side, side)."""
    coarse = torch.rand(batch, 3, 7, 7)
    return (F.interpolate(coarse, size=(side, side), mode='bilinear') * 255).to(torch.uint8)


def drawn_data(family: str) -> dict[str, Any]:
    """A batch as the family's data loader gives it; PyTorch's seed decides."""
    images = drawn_images()
    scope = scope_of(family)
    if scope != 'mmengine':
        return dict(
            inputs=list(images), data_samples=[{'mmdet': objects, 'mmseg': labels}[scope](i) for i in range(BATCH)]
        )
    data: dict[str, Any] = dict(inputs=images)
    if family == 'beit':
        data['token_inputs'] = drawn_images(side=SIDE // 2)
    if family.startswith(('fine', 'linear')):
        data['data_samples'] = torch.arange(BATCH) + 1
    return data


def objects(index: int) -> Any:
    """Two boxes with masks, as mmdet has them."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    boxes = torch.tensor([[8, 10, 40, 60], [50, 20 + index, 90, 70.0]], dtype=torch.float32)
    masks = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    size = (SIDE, SIDE)
    sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, scale_factor=(1.0, 1.0)))
    sample.gt_instances = InstanceData(
        bboxes=boxes, labels=torch.tensor([0, 1 + index]), masks=BitmapMasks(masks.numpy(), SIDE, SIDE)
    )
    return sample


def labels(index: int) -> Any:
    """Labels of halves, as mmseg has them."""
    from mmseg.structures import SegDataSample

    classes = torch.zeros(1, SIDE, SIDE, dtype=torch.long)
    classes[:, :, SIDE // 2 + 10 * index :] = 1 + index
    size = (SIDE, SIDE)
    sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, scale_factor=(1.0, 1.0)))
    sample.gt_sem_seg = PixelData(data=classes)
    return sample


def twenty_losses(family: str) -> list[float]:
    """Losses of twenty training steps on one batch."""
    torch.manual_seed(0)
    model, wrapper = build(family)
    torch.manual_seed(1)
    losses = []
    for step in range(20):
        torch.manual_seed(1)
        data = drawn_data(family)
        torch.manual_seed(step)
        losses.append(float(model.train_step(data, wrapper)['loss']))
    return losses


if __name__ == '__main__':
    GOLDEN.write_text(
        json.dumps({family: [round(loss, 6) for loss in twenty_losses(family)] for family in FAMILIES}) + '\n'
    )
