# 100 epochs of COCO at batch 64, AdamW at 8e-5 with cosine decay (Li et al., arXiv 2111.11429, as re-run by MIMDet).
# They decay no layer's rate; 0.7 is ViTDet's for base, and decay_rate=1 their setting.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=8e-5, betas=(0.9, 0.999), weight_decay=0.1, fused=True),
    constructor='LayerWiseDecay',
    paramwise_cfg=dict(decay_rate=0.7, preset='vitdet'),
)
# The batch that the rate is for; the rate is not scaled to another one.
auto_scale_lr = dict(enable=False, base_batch_size=64)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=250),
    # No eta_min: an absolute floor would undo the layers' ratios.
    dict(type='CosineAnnealingLR', by_epoch=False, begin=250, end=184375),
]
train_cfg = dict(type='SeededIterLoop', max_iters=184375, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
