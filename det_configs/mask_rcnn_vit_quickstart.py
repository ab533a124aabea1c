"""Mask R-CNN on a six-block ViT for the drawn scenes of tools/make_shapes.py: minutes on CPU; no paper reports it.

python tools/train.py det_configs/mask_rcnn_vit_quickstart.py --data-root SHAPES/coco --pretrained MAE_CHECKPOINT
"""

_base_ = ['_base_/mask_rcnn.py', '_base_/shapes.py', '_base_/schedule_short.py', '_base_/runtime.py']

__variant = dict(embed_dim=192, depth=6, num_heads=6)
__narrow = dict(in_channels=64, conv_out_channels=64)
model = dict(
    backbone=dict(type='PlainViT', variant=__variant, img_size=192, out_indices=(2, 3, 4, 5)),
    neck=[
        dict(type='DeconvPyramid', in_channels=192),
        dict(type='FPN', in_channels=[192] * 4, out_channels=64, num_outs=4),
    ],
    rpn_head=dict(
        in_channels=64, feat_channels=64, num_convs=1, anchor_generator=dict(scales=[6], strides=[4, 8, 16, 32])
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(fc_out_channels=256, **__narrow),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=__narrow,
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=200, max_per_img=100), rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(max_per_img=30)),
)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=100))
