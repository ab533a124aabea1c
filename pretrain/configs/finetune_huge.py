"""MAE ViT-H/14 fine-tuned on ImageNet-1k, 50 epochs, effective batch 1024.

torchrun --nproc_per_node 8 tools/train.py pretrain/configs/finetune_huge.py --launcher pytorch --data-root IMAGENET \
    --pretrained mae_pretrain_vit_huge.pth   (8 GPUs of 80 GB)
The paper's weights reach 86.9 % (the paper's number, not ours).
"""

_base_ = ['_base_/finetune_mae.py', '_base_/classify.py']

__weights = dict(type='PretrainedViT', checkpoint='checkpoints/mae_pretrain_vit_huge.pth')
__rates = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(decay_rate=0.75))
model = dict(backbone=dict(variant='huge', patch_size=14, drop_path_rate=0.3, init_cfg=__weights))
train_dataloader = dict(batch_size=32, drop_last=True)
optim_wrapper = dict(type='BF16OptimWrapper', accumulative_counts=4, **__rates)
train_cfg = dict(max_epochs=50)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-6 / 4e-3, by_epoch=True, begin=5, convert_to_iter_based=True),
]
