"""UperNet on PlainViT-base with deconvolutions, ADE20K at 512 px: the MAE paper reports 48.1 mIoU (single scale).

python tools/train.py seg_configs/upernet_vit_base.py --pretrained mae_pretrain_vit_base.pth --amp
For 16 images an iteration: 8 GPUs with 2 each.
"""

_base_ = ['_base_/upernet.py', '_base_/ade20k_512.py', '_base_/schedule_160k.py', '_base_/runtime.py']

__taps = (3, 5, 7, 11)
__weights = dict(type='PretrainedViT', checkpoint='checkpoints/mae_pretrain_vit_base.pth')
model = dict(
    backbone=dict(
        type='PlainViT', variant='base', img_size=512, out_indices=__taps, drop_path_rate=0.1, init_cfg=__weights
    ),
    neck=dict(type='DeconvPyramid', in_channels=768, norm='syncbn'),
    decode_head=dict(in_channels=[768] * 4, channels=768),
    auxiliary_head=dict(in_channels=768),
)
