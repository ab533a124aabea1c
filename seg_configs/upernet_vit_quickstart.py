"""UperNet on a six-block ViT for the drawn scenes of tools/make_shapes.py: minutes on CPU; no paper reports it.

python tools/train.py seg_configs/upernet_vit_quickstart.py --data-root SHAPES/ade --pretrained MAE_CHECKPOINT
"""

_base_ = ['_base_/upernet.py', '_base_/shapes.py', '_base_/schedule_short.py', '_base_/runtime.py']

__variant = dict(embed_dim=192, depth=6, num_heads=6)
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(type='PlainViT', variant=__variant, img_size=128, out_norm=True),
    neck=dict(type='DeconvPyramid', in_channels=192, norm='bn'),
    decode_head=dict(in_channels=[192] * 4, channels=64, norm_cfg=dict(type='BN')),
    auxiliary_head=dict(in_channels=192, channels=64, norm_cfg=dict(type='BN')),
    test_cfg=dict(_delete_=True, mode='whole'),
)
optim_wrapper = dict(optimizer=dict(lr=3e-3), paramwise_cfg=dict(decay_rate=0.85))
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=50))
