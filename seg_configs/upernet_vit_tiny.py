"""UperNet on PlainViT-tiny in crops of 256 px with narrow heads: smoke runs and small data on CPU; no paper reports it.

python tools/train.py seg_configs/upernet_vit_tiny.py --data-root DIR --pretrained MAE_TINY_CHECKPOINT
"""

_base_ = ['_base_/upernet.py', '_base_/ade20k_256.py', '_base_/schedule_short.py', '_base_/runtime.py']

model = dict(
    data_preprocessor=dict(size=(256, 256)),
    backbone=dict(type='PlainViT', variant='tiny', img_size=256, out_indices=(2, 5, 8, 11)),
    neck=dict(type='DeconvPyramid', in_channels=192, norm='bn'),
    decode_head=dict(in_channels=[192] * 4, channels=128, norm_cfg=dict(type='BN')),
    auxiliary_head=dict(in_channels=192, channels=64, norm_cfg=dict(type='BN')),
    test_cfg=dict(crop_size=(256, 256), stride=(171, 171)),
)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=500))
