"""BEiT-B/16 fine-tuned on ImageNet-1k, 100 epochs, effective batch 1024.

torchrun --nproc_per_node 8 tools/train.py pretrain/configs/finetune_beit_base.py --launcher pytorch --data-root \
    IMAGENET --pretrained beit_base_patch16_224_pt22k.pth   (8 GPUs of 24 GB)
Pretrained on ImageNet-22k without labels the paper's weights reach 83.7 % (the paper's number, not ours).
"""

_base_ = ['_base_/finetune_beit.py', '_base_/classify.py']

__weights = dict(type='PretrainedViT', checkpoint='checkpoints/beit_base_patch16_224_pt22k.pth')
model = dict(backbone=dict(variant='base', layer_scale=0.1, drop_path_rate=0.1, init_cfg=__weights))
train_dataloader = dict(batch_size=128, drop_last=True)
optim_wrapper = dict(type='BF16OptimWrapper')
