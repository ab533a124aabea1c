"""MAE ViT-B/16, only the last blocks fine-tuned on ImageNet-1k, effective batch 1024.

torchrun --nproc_per_node 8 tools/train.py pretrain/configs/partial_base.py --launcher pytorch --data-root IMAGENET \
    --pretrained mae_pretrain_vit_base.pth --cfg-options model.tuned_blocks=0.5   (8 GPUs of 16 GB)
The paper plots this for ViT-L (figure 9) and gives no table: one block takes its 73.5 % of the linear probe to 81.0 %
(the paper's numbers, not ours). 0.5 is the MLP of the last block.
"""

_base_ = ['_base_/finetune_mae.py', '_base_/classify.py']

__weights = dict(type='PretrainedViT', checkpoint='checkpoints/mae_pretrain_vit_base.pth')
model = dict(backbone=dict(variant='base', drop_path_rate=0.1, init_cfg=__weights), tuned_blocks=1)
train_dataloader = dict(batch_size=128, drop_last=True)
optim_wrapper = dict(type='BF16OptimWrapper')
