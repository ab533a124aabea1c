# BEiT's segmentation schedule, taken over by MAE and mmseg: 160k iterations at batch 16, linear decay to zero.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    constructor='LayerWiseDecay',
    # The published runs decay positions and class token too.
    paramwise_cfg=dict(decay_rate=0.65, preset='beit'),
)
# The batch that the rate is for; the rate is not scaled to another one.
auto_scale_lr = dict(enable=False, base_batch_size=16)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    # No eta_min: an absolute floor would undo the layers' ratios.
    dict(type='PolyLR', power=1.0, by_epoch=False, begin=1500, end=160000),
]
train_cfg = dict(type='SeededIterLoop', max_iters=160000, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
