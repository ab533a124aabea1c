"""UperNet on BEiT-large, ADE20K at 640 px: its authors report 56.7 mIoU (single scale).

python tools/train.py seg_configs/upernet_beit_large.py --pretrained beit_large_patch16_224_pt22k_ft22k.pth --amp
For 16 images an iteration: 8 GPUs with 2 each (theirs took one, and two iterations for each step).
"""

_base_ = ['_base_/upernet.py', '_base_/ade20k_640.py', '_base_/schedule_160k.py', '_base_/runtime.py']

__beit = dict(rel_pos='table', use_abs_pos=False, layer_scale=1e-5, drop_path_rate=0.2)
__weights = dict(type='PretrainedViT', checkpoint='checkpoints/beit_large_patch16_224_pt22k_ft22k.pth')
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        type='PlainViT', variant='large', img_size=640, out_indices=(7, 11, 15, 23), init_cfg=__weights, **__beit
    ),
    neck=dict(type='DeconvPyramid', in_channels=1024, norm='syncbn'),
    decode_head=dict(in_channels=[1024] * 4, channels=1024),
    auxiliary_head=dict(in_channels=1024),
    test_cfg=dict(crop_size=(640, 640), stride=(426, 426)),
)
optim_wrapper = dict(optimizer=dict(lr=2e-5), paramwise_cfg=dict(decay_rate=0.95))
