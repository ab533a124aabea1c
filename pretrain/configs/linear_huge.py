"""MAE ViT-H/14 probed by a linear layer on ImageNet-1k, 90 epochs, effective batch 16384.

torchrun --nproc_per_node 8 tools/train.py pretrain/configs/linear_huge.py --launcher pytorch --data-root IMAGENET \
    --pretrained mae_pretrain_vit_huge.pth   (8 GPUs of 24 GB)
The paper's weights reach 76.6 % (the paper's number, not ours).
"""

_base_ = ['_base_/linear.py', '_base_/classify.py']

__weights = dict(type='PretrainedViT', checkpoint='checkpoints/mae_pretrain_vit_huge.pth')
model = dict(backbone=dict(variant='huge', patch_size=14, init_cfg=__weights))
train_dataloader = dict(batch_size=256, drop_last=True, dataset=dict(transform=dict(rand_augment=None)))
optim_wrapper = dict(type='BF16OptimWrapper', accumulative_counts=8)
