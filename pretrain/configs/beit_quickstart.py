"""BEiT on a six-block ViT for the drawn scenes of tools/make_shapes.py: minutes on CPU; no paper reports it.

python tools/train.py pretrain/configs/beit_quickstart.py --data-root SHAPES/unlabelled \
  --cfg-options model.target.tokenizer=TOKENIZER
"""

_base_ = ['_base_/beit.py', '_base_/recipe_beit.py', '_base_/runtime.py']

model = dict(
    encoder=dict(variant=dict(embed_dim=192, depth=6, num_heads=6), img_size=128, layer_scale=0.1, drop_path_rate=0.0)
)
__views = dict(crop_size=128, token_size=64, crop_scale=(0.4, 1.0), color_jitter=0.0)
train_dataloader = dict(batch_size=64, drop_last=False, num_workers=1, pin_memory=False, dataset=__views)
# A few hundred iterations need a far higher rate than the paper's hundreds of thousands.
optim_wrapper = dict(optimizer=dict(lr=3.2e-2))
train_cfg = dict(max_epochs=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, begin=1, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=8), checkpoint=dict(interval=1))
