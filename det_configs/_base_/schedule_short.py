# A short run on small data: 2000 iterations with warm-up and cosine decay.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-4, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    constructor='LayerWiseDecay',
    paramwise_cfg=dict(decay_rate=0.75),
)
# The batch that the rate is for; the rate is not scaled to another one.
auto_scale_lr = dict(enable=False, base_batch_size=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    # No eta_min: an absolute floor would undo the layers' ratios.
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=2000),
]
train_cfg = dict(type='SeededIterLoop', max_iters=2000, val_interval=500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
