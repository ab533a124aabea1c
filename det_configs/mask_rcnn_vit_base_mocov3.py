"""As mask_rcnn_vit_base.py from MoCo v3: Li et al. (arXiv 2111.11429) have 47.9 box AP, 42.7 mask AP.

torchrun --nproc_per_node 8 tools/train.py det_configs/mask_rcnn_vit_base_mocov3.py --launcher pytorch --amp \
    --batch-size 4 --accumulate 2 --pretrained vit-b-300ep.pth.tar
For 64 images an iteration, such as 64 GPUs; they tune rate and drop path for each start, this is the one of MAE.
"""

_base_ = ['_base_/mask_rcnn.py', '_base_/coco_1024.py', '_base_/schedule_cosine.py', '_base_/runtime.py']

__taps = (2, 5, 8, 11)
__norm = dict(type='SyncBN')
__windows = dict(window_size=16, global_blocks=__taps, rel_pos='decomposed')
__weights = dict(type='PretrainedViT', checkpoint='checkpoints/vit-b-300ep.pth.tar')
__vit = dict(type='PlainViT', variant='base', img_size=1024, out_indices=__taps, drop_path_rate=0.1, init_cfg=__weights)
__fpn = dict(type='FPN', in_channels=[768] * 4, out_channels=256, num_outs=5, norm_cfg=__norm)
model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),  # whole images; longer ones (a test scale of 1333) become 2048
    backbone=dict(**__vit, **__windows),
    neck=[dict(type='DeconvPyramid', in_channels=768), __fpn],
    roi_head=dict(bbox_head=dict(norm_cfg=__norm), mask_head=dict(norm_cfg=__norm)),
)
