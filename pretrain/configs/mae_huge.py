"""MAE ViT-H/14 on ImageNet-1k, 800 epochs, effective batch 4096.

torchrun --nproc_per_node 8 tools/train.py pretrain/configs/mae_huge.py --launcher pytorch   (8 GPUs of 80 GB)
Fewer GPUs: --accumulate N; the lr follows the effective batch. The paper's weights, 1600 epochs,
reach 86.9 % on ImageNet-1k after fine-tuning (the paper's number, not ours).
"""

_base_ = ['_base_/mae.py', '_base_/recipe_mae.py', '_base_/runtime.py']

model = dict(encoder=dict(variant='huge', patch_size=14))
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(type='BF16OptimWrapper', accumulative_counts=4)
