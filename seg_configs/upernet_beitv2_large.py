"""UperNet on BEiT v2-large, ADE20K at 512 px: its authors report 57.5 mIoU (single scale).

python tools/train.py seg_configs/upernet_beitv2_large.py --pretrained beitv2_large_patch16_224_pt1k_ft21k.pth --amp
For 16 images an iteration: 8 GPUs with 2 each.
"""

_base_ = ['_base_/upernet.py', '_base_/ade20k_512.py', '_base_/schedule_160k.py', '_base_/runtime.py']

__beit = dict(rel_pos='table', use_abs_pos=False, layer_scale=1e-5, drop_path_rate=0.2)
__weights = dict(type='PretrainedViT', checkpoint='checkpoints/beitv2_large_patch16_224_pt1k_ft21k.pth')
model = dict(
    backbone=dict(
        type='PlainViT', variant='large', img_size=512, out_indices=(7, 11, 15, 23), init_cfg=__weights, **__beit
    ),
    neck=dict(type='DeconvPyramid', in_channels=1024, norm='syncbn'),
    decode_head=dict(in_channels=[1024] * 4, channels=1024),
    auxiliary_head=dict(in_channels=1024),
)
optim_wrapper = dict(optimizer=dict(lr=3e-5), paramwise_cfg=dict(decay_rate=0.9))
