"""MAE ViT-B/16 probed by a linear layer on ImageNet-1k, 90 epochs, effective batch 16384.

torchrun --nproc_per_node 8 tools/train.py pretrain/configs/linear_base.py --launcher pytorch --data-root IMAGENET \
    --pretrained mae_pretrain_vit_base.pth   (8 GPUs of 16 GB)
The paper's weights reach 68.0 % (the paper's number, not ours).
"""

_base_ = ['_base_/linear.py', '_base_/classify.py']

__weights = dict(type='PretrainedViT', checkpoint='checkpoints/mae_pretrain_vit_base.pth')
model = dict(backbone=dict(variant='base', init_cfg=__weights))
train_dataloader = dict(batch_size=512, drop_last=True, dataset=dict(transform=dict(rand_augment=None)))
optim_wrapper = dict(type='BF16OptimWrapper', accumulative_counts=4)
