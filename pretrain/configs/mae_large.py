"""MAE ViT-L/16 on ImageNet-1k, 800 epochs, effective batch 4096.

torchrun --nproc_per_node 8 tools/train.py pretrain/configs/mae_large.py --launcher pytorch   (8 GPUs of 40 GB or more)
Fewer GPUs: --accumulate N; the lr follows the effective batch. The paper reports 85.4 % on
ImageNet-1k after fine-tuning, 85.9 % with 1600 epochs (the paper's numbers, not ours).
"""

_base_ = ['_base_/mae.py', '_base_/recipe_mae.py', '_base_/runtime.py']

model = dict(encoder=dict(variant='large'))
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(type='BF16OptimWrapper', accumulative_counts=4)
