"""Mask R-CNN on PlainViT-tiny at 256 px with narrow heads: smoke runs and small data on CPU; no paper reports it.

python tools/train.py det_configs/mask_rcnn_vit_tiny.py --data-root DIR --pretrained MAE_TINY_CHECKPOINT
"""

_base_ = ['_base_/mask_rcnn.py', '_base_/coco_256.py', '_base_/schedule_short.py', '_base_/runtime.py']

__narrow = dict(in_channels=128, conv_out_channels=128)
model = dict(
    backbone=dict(type='PlainViT', variant='tiny', img_size=256, out_indices=(2, 5, 8, 11)),
    neck=[
        dict(type='DeconvPyramid', in_channels=192),
        dict(type='FPN', in_channels=[192] * 4, out_channels=128, num_outs=5),
    ],
    # Anchors of 16 to 256 px, in proportion to the image.
    rpn_head=dict(in_channels=128, feat_channels=128, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128),
        bbox_head=dict(fc_out_channels=256, **__narrow),
        mask_roi_extractor=dict(out_channels=128),
        mask_head=__narrow,
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=128))),
)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=500))
