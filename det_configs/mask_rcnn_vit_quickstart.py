"""Mask R-CNN on a six-block ViT for the drawn scenes of tools/make_shapes.py: minutes on CPU; no paper reports it.

python tools/train.py det_configs/mask_rcnn_vit_quickstart.py --data-root SHAPES/coco --pretrained MAE_CHECKPOINT
"""

_base_ = ['_base_/mask_rcnn.py', '_base_/shapes.py', '_base_/schedule_short.py', '_base_/runtime.py']

__vit = dict(type='PlainViT', variant=dict(embed_dim=192, depth=6, num_heads=6), img_size=128, out_norm=True)
__fpn = dict(type='FPN', in_channels=[192] * 4, out_channels=64, num_outs=4, norm_cfg=dict(type='LN2d'))
__mask_head = dict(in_channels=64, conv_out_channels=64, norm_cfg=dict(type='LN2d'))
# Two linear layers learn faster than four convolutions.
__box_head = dict(type='Shared2FCBBoxHead', in_channels=64, fc_out_channels=256)
__anchors = dict(scales=[6], strides=[4, 8, 16, 32])
__rois = dict(bbox_roi_extractor=dict(out_channels=64), mask_roi_extractor=dict(out_channels=64))
model = dict(
    backbone=__vit,
    neck=[dict(type='DeconvPyramid', in_channels=192), __fpn],
    rpn_head=dict(in_channels=64, feat_channels=64, num_convs=1, anchor_generator=__anchors),
    roi_head=dict(**__rois, bbox_head=__box_head, mask_head=__mask_head),
    train_cfg=dict(rpn_proposal=dict(nms_pre=200, max_per_img=100), rcnn=dict(sampler=dict(num=32, pos_fraction=0.5))),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100), rcnn=dict(max_per_img=30)),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(decay_rate=0.85))
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=50))
