# ViTDet's schedule, as in detectron2: 100 epochs of COCO at batch 64, rate cut tenfold after 8/9 and 26/27 of it.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1, fused=True),
    constructor='LayerWiseDecay',
    paramwise_cfg=dict(decay_rate=0.7, preset='vitdet'),
)
# The batch that the rate is for; the rate is not scaled to another one.
auto_scale_lr = dict(enable=False, base_batch_size=64)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=250),
    dict(type='MultiStepLR', by_epoch=False, milestones=[163889, 177546], gamma=0.1),
]
train_cfg = dict(type='SeededIterLoop', max_iters=184375, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
