"""ViTDet: Mask R-CNN on PlainViT-large, simple feature pyramid: detectron2 reports 55.5 box AP, 49.2 mask AP.

python tools/train.py det_configs/mask_rcnn_vitdet_large.py --pretrained mae_pretrain_vit_large.pth --amp
For 64 images an iteration; detectron2 used 64 A100, one image and 20.9 GB each.
In 24 GB: --amp --batch-size 1 --accumulate 64 --cfg-options model.backbone.act_checkpoint=True
"""

_base_ = ['_base_/mask_rcnn.py', '_base_/coco_1024.py', '_base_/schedule_vitdet.py', '_base_/runtime.py']

__norm = dict(type='LN2d', eps=1e-6)
__windows = dict(window_size=14, global_blocks=(5, 11, 17, 23), rel_pos='decomposed')
__weights = dict(type='PretrainedViT', checkpoint='checkpoints/mae_pretrain_vit_large.pth')
__vit = dict(
    type='PlainViT', variant='large', img_size=1024, pretrain_img_size=224, drop_path_rate=0.4, init_cfg=__weights
)
model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),  # whole images; longer ones (a test scale of 1333) become 2048
    backbone=dict(**__vit, **__windows),
    neck=dict(type='SimpleFeaturePyramid', in_channels=1024),
    roi_head=dict(bbox_head=dict(norm_cfg=__norm), mask_head=dict(norm_cfg=__norm)),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.8))
