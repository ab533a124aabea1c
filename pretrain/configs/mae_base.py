"""MAE ViT-B/16 on ImageNet-1k, 800 epochs, effective batch 4096.

torchrun --nproc_per_node 8 tools/train.py pretrain/configs/mae_base.py --launcher pytorch   (8 GPUs of 24 GB or more)
Fewer GPUs: --accumulate N; the lr follows the effective batch. The paper's weights, 1600 epochs,
reach 83.6 % on ImageNet-1k after fine-tuning (the paper's number, not ours).
"""

_base_ = ['_base_/mae.py', '_base_/recipe_mae.py', '_base_/runtime.py']

model = dict(encoder=dict(variant='base'))
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(type='BF16OptimWrapper', accumulative_counts=4)
