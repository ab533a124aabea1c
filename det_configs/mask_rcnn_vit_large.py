"""Mask R-CNN on PlainViT-large with deconvolutions and FPN on four maps: the MAE paper has 53.3 box AP, 47.2 mask AP.

torchrun --nproc_per_node 8 tools/train.py det_configs/mask_rcnn_vit_large.py --launcher pytorch --amp --batch-size 8
For 64 images an iteration, such as 64 GPUs; windows and global blocks as in Li et al. (arXiv 2111.11429). Not theirs:
lr and length (MIMDet's), layer decay with its preset (ViTDet's; decay_rate=1 is theirs) and decomposed positions.
In 24 GB: --amp --batch-size 1 --accumulate 64 --norm LN2d --cfg-options model.backbone.act_checkpoint=True
"""

_base_ = ['_base_/mask_rcnn.py', '_base_/coco_1024.py', '_base_/schedule_cosine.py', '_base_/runtime.py']

__taps = (5, 11, 17, 23)
__norm = dict(type='SyncBN')
__windows = dict(window_size=16, global_blocks=__taps, rel_pos='decomposed')
__weights = dict(type='PretrainedViT', checkpoint='checkpoints/mae_pretrain_vit_large.pth')
__vit = dict(
    type='PlainViT', variant='large', img_size=1024, out_indices=__taps, drop_path_rate=0.4, init_cfg=__weights
)
__fpn = dict(type='FPN', in_channels=[1024] * 4, out_channels=256, num_outs=5, norm_cfg=__norm)
model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),  # whole images; longer ones (a test scale of 1333) become 2048
    backbone=dict(**__vit, **__windows),
    neck=[dict(type='DeconvPyramid', in_channels=1024), __fpn],
    roi_head=dict(bbox_head=dict(norm_cfg=__norm), mask_head=dict(norm_cfg=__norm)),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.8))
