"""BEiT ViT-S/16, 800 epochs, effective batch 2048, with the recipe of beit_base.py; no published number.

torchrun --nproc_per_node 4 tools/train.py pretrain/configs/beit_small.py --launcher pytorch --data-root DIR \
    --cfg-options model.target.tokenizer=TOKENIZER   (4 GPUs of 16 GB)
"""

_base_ = ['_base_/beit.py', '_base_/recipe_beit.py', '_base_/runtime.py']

model = dict(encoder=dict(variant='small', layer_scale=0.1))
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(type='BF16OptimWrapper', accumulative_counts=4)
