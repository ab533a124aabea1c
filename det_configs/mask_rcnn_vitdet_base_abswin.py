"""As mask_rcnn_vitdet_base.py, MAE's positions repeated in the windows (arXiv 2311.05613): box AP -, mask AP -.

python tools/train.py det_configs/mask_rcnn_vitdet_base_abswin.py --pretrained mae_pretrain_vit_base.pth --amp
For 64 images an iteration, one on each of 64 GPUs. Relative positions are left to the four global blocks.
"""

_base_ = ['_base_/mask_rcnn.py', '_base_/coco_1024.py', '_base_/schedule_vitdet.py', '_base_/runtime.py']

__norm = dict(type='LN2d', eps=1e-6)
__windows = dict(window_size=14, global_blocks=(2, 5, 8, 11), rel_pos='decomposed_global', window_abs_pos=True)
__weights = dict(type='PretrainedViT', checkpoint='checkpoints/mae_pretrain_vit_base.pth')
__vit = dict(
    type='PlainViT', variant='base', img_size=1024, pretrain_img_size=224, drop_path_rate=0.1, init_cfg=__weights
)
model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),  # whole images; longer ones (a test scale of 1333) become 2048
    backbone=dict(**__vit, **__windows),
    neck=dict(type='SimpleFeaturePyramid', in_channels=768),
    roi_head=dict(bbox_head=dict(norm_cfg=__norm), mask_head=dict(norm_cfg=__norm)),
)
