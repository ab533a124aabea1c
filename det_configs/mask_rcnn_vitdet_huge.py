"""ViTDet: Mask R-CNN on PlainViT-huge, simple feature pyramid: detectron2 reports 56.7 box AP, 50.2 mask AP.

python tools/train.py det_configs/mask_rcnn_vitdet_huge.py --pretrained mae_pretrain_vit_huge_p14to16.pth --amp
For 64 images an iteration; detectron2 used 64 A100, one image and 31.5 GB each. 75 epochs, from patch 14.
"""

_base_ = ['_base_/mask_rcnn.py', '_base_/coco_1024.py', '_base_/schedule_vitdet.py', '_base_/runtime.py']

__norm = dict(type='LN2d', eps=1e-6)
__windows = dict(window_size=14, global_blocks=(7, 15, 23, 31), rel_pos='decomposed')
__weights = dict(type='PretrainedViT', checkpoint='checkpoints/mae_pretrain_vit_huge_p14to16.pth')
__vit = dict(
    type='PlainViT', variant='huge', img_size=1024, pretrain_img_size=224, drop_path_rate=0.5, init_cfg=__weights
)
model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),  # whole images; longer ones (a test scale of 1333) become 2048
    backbone=dict(**__vit, **__windows),
    neck=dict(type='SimpleFeaturePyramid', in_channels=1280),
    roi_head=dict(bbox_head=dict(norm_cfg=__norm), mask_head=dict(norm_cfg=__norm)),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.9, preset='vitdet_huge'))
__warm_up = dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=250)
__steps = dict(type='MultiStepLR', by_epoch=False, milestones=[122916, 133159], gamma=0.1)
param_scheduler = [__warm_up, __steps]
train_cfg = dict(max_iters=138281)
