"""UperNet on PlainViT-small with deconvolutions, ADE20K at 512 px; no published number.

python tools/train.py seg_configs/upernet_vit_small.py --pretrained work_dirs/mae_small/epoch_800.pth --amp
For 16 images an iteration: 8 GPUs of 16 GB with 2 each.
"""

_base_ = ['_base_/upernet.py', '_base_/ade20k_512.py', '_base_/schedule_160k.py', '_base_/runtime.py']

__taps = (3, 5, 7, 11)
__weights = dict(type='PretrainedViT', checkpoint='work_dirs/mae_small/epoch_800.pth')
model = dict(
    backbone=dict(
        type='PlainViT', variant='small', img_size=512, out_indices=__taps, drop_path_rate=0.1, init_cfg=__weights
    ),
    neck=dict(type='DeconvPyramid', in_channels=384, norm='syncbn'),
    decode_head=dict(in_channels=[384] * 4, channels=384),
    auxiliary_head=dict(in_channels=384),
)
