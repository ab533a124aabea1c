"""MAE on a six-block ViT for the drawn scenes of tools/make_shapes.py: minutes on CPU; no paper reports it.

python tools/train.py pretrain/configs/mae_quickstart.py --data-root SHAPES/unlabelled
"""

_base_ = ['_base_/mae.py', '_base_/recipe_mae.py', '_base_/runtime.py']

model = dict(
    encoder=dict(variant=dict(embed_dim=192, depth=6, num_heads=6), img_size=128),
    decoder=dict(embed_dim=96, depth=1, num_heads=3),
)
train_dataloader = dict(
    batch_size=64, drop_last=False, num_workers=1, pin_memory=False, dataset=dict(crop_size=128, crop_scale=(0.4, 1.0))
)
# A few hundred iterations need a far higher rate than the paper's hundreds of thousands.
optim_wrapper = dict(optimizer=dict(lr=4e-3))
train_cfg = dict(max_epochs=12)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, begin=2, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=8), checkpoint=dict(interval=1))
