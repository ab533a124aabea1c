"""UperNet on PlainViT-large with deconvolutions, ADE20K at 512 px: the MAE paper reports 53.6 mIoU (single scale).

python tools/train.py seg_configs/upernet_vit_large.py --pretrained mae_pretrain_vit_large.pth --amp
For 16 images an iteration: 8 GPUs with 2 each. The paper gives no rates: layer decay and drop path are ours.
"""

_base_ = ['_base_/upernet.py', '_base_/ade20k_512.py', '_base_/schedule_160k.py', '_base_/runtime.py']

__taps = (7, 11, 15, 23)
__weights = dict(type='PretrainedViT', checkpoint='checkpoints/mae_pretrain_vit_large.pth')
model = dict(
    backbone=dict(
        type='PlainViT', variant='large', img_size=512, out_indices=__taps, drop_path_rate=0.2, init_cfg=__weights
    ),
    neck=dict(type='DeconvPyramid', in_channels=1024, norm='syncbn'),
    decode_head=dict(in_channels=[1024] * 4, channels=1024),
    auxiliary_head=dict(in_channels=1024),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.8))
