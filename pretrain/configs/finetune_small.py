"""MAE ViT-S/16 fine-tuned, 100 epochs, effective batch 1024, with the recipe of finetune_base.py; no published number.

torchrun --nproc_per_node 4 tools/train.py pretrain/configs/finetune_small.py --launcher pytorch --data-root DIR \
    --pretrained work_dirs/mae_small/epoch_800.pth   (4 GPUs of 16 GB; fewer: --accumulate N)
"""

_base_ = ['_base_/finetune_mae.py', '_base_/classify.py']

__weights = dict(type='PretrainedViT', checkpoint='work_dirs/mae_small/epoch_800.pth')
model = dict(backbone=dict(variant='small', drop_path_rate=0.1, init_cfg=__weights))
train_dataloader = dict(batch_size=256, drop_last=True)
optim_wrapper = dict(type='BF16OptimWrapper')
