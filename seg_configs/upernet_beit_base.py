"""UperNet on BEiT-base, ADE20K at 640 px: its authors report 53.6 mIoU (single scale).

python tools/train.py seg_configs/upernet_beit_base.py --pretrained beit_base_patch16_224_pt22k_ft22k.pth --amp
For 16 images an iteration: 8 GPUs with 2 each.
"""

_base_ = ['_base_/upernet.py', '_base_/ade20k_640.py', '_base_/schedule_160k.py', '_base_/runtime.py']

__beit = dict(rel_pos='table', use_abs_pos=False, layer_scale=0.1, drop_path_rate=0.1)
__weights = dict(type='PretrainedViT', checkpoint='checkpoints/beit_base_patch16_224_pt22k_ft22k.pth')
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        type='PlainViT', variant='base', img_size=640, out_indices=(3, 5, 7, 11), init_cfg=__weights, **__beit
    ),
    neck=dict(type='DeconvPyramid', in_channels=768, norm='syncbn'),
    decode_head=dict(in_channels=[768] * 4, channels=768),
    auxiliary_head=dict(in_channels=768),
    test_cfg=dict(crop_size=(640, 640), stride=(426, 426)),
)
optim_wrapper = dict(optimizer=dict(lr=3e-5), paramwise_cfg=dict(decay_rate=0.9))
