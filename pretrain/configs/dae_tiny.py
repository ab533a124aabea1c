"""Denoising autoencoder on a plain ViT-tiny: Gaussian noise on the whole image, linear head, MAE's recipe.

python tools/train.py pretrain/configs/dae_tiny.py --data-root DIR
A baseline: only the method differs from mae_tiny.py. No paper reports it.
"""

_base_ = ['_base_/dae.py', '_base_/recipe_mae.py', '_base_/runtime.py']

model = dict(encoder=dict(variant='tiny'))
train_dataloader = dict(batch_size=32, num_workers=1, pin_memory=False)
train_cfg = dict(max_epochs=20)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, begin=2, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=10))
