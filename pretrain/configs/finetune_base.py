"""MAE ViT-B/16 fine-tuned on ImageNet-1k, 100 epochs, effective batch 1024.

torchrun --nproc_per_node 8 tools/train.py pretrain/configs/finetune_base.py --launcher pytorch --data-root IMAGENET \
    --pretrained mae_pretrain_vit_base.pth   (8 GPUs of 24 GB; fewer: --accumulate N)
The paper's weights reach 83.6 % (the paper's number, not ours).
"""

_base_ = ['_base_/finetune_mae.py', '_base_/classify.py']

__weights = dict(type='PretrainedViT', checkpoint='checkpoints/mae_pretrain_vit_base.pth')
model = dict(backbone=dict(variant='base', drop_path_rate=0.1, init_cfg=__weights))
train_dataloader = dict(batch_size=128, drop_last=True)
optim_wrapper = dict(type='BF16OptimWrapper')
