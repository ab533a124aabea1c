"""Pixel regression after SimMIM on a plain ViT-base: mask tokens in the encoder, linear head, MAE's recipe.

python tools/train.py pretrain/configs/simmim_base.py --data-root DIR
A baseline: only the method differs from mae_base.py. No paper reports it (SimMIM's own recipe is another).
"""

_base_ = ['_base_/simmim.py', '_base_/recipe_mae.py', '_base_/runtime.py']

model = dict(encoder=dict(variant='base'))
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(type='BF16OptimWrapper', accumulative_counts=4)
