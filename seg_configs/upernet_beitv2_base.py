"""UperNet on BEiT v2-base, ADE20K at 512 px: its authors report 53.5 mIoU (single scale).

python tools/train.py seg_configs/upernet_beitv2_base.py --pretrained beitv2_base_patch16_224_pt1k_ft21k.pth --amp
For 16 images an iteration: 8 GPUs with 2 each.
"""

_base_ = ['_base_/upernet.py', '_base_/ade20k_512.py', '_base_/schedule_160k.py', '_base_/runtime.py']

__beit = dict(rel_pos='table', use_abs_pos=False, layer_scale=0.1, drop_path_rate=0.15)
__weights = dict(type='PretrainedViT', checkpoint='checkpoints/beitv2_base_patch16_224_pt1k_ft21k.pth')
model = dict(
    backbone=dict(
        type='PlainViT', variant='base', img_size=512, out_indices=(3, 5, 7, 11), init_cfg=__weights, **__beit
    ),
    neck=dict(type='DeconvPyramid', in_channels=768, norm='syncbn'),
    decode_head=dict(in_channels=[768] * 4, channels=768),
    auxiliary_head=dict(in_channels=768),
)
optim_wrapper = dict(optimizer=dict(lr=5e-5), paramwise_cfg=dict(decay_rate=0.85))
