"""Denoising autoencoder on a plain ViT-base: Gaussian noise on the whole image, linear head, MAE's recipe.

python tools/train.py pretrain/configs/dae_base.py --data-root DIR
A baseline: only the method differs from mae_base.py. No paper reports it.
"""

_base_ = ['_base_/dae.py', '_base_/recipe_mae.py', '_base_/runtime.py']

model = dict(encoder=dict(variant='base'))
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(type='BF16OptimWrapper', accumulative_counts=4)
