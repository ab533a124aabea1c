"""Linear probe of MAE as published (arXiv 2111.06377, appendix A, and its code): all but the encoder's size."""

model = dict(
    type='LinearProbe',
    data_preprocessor=dict(
        type='ImgDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], non_blocking=True
    ),
    backbone=dict(type='PlainViT', img_size=224, patch_size=16, out_norm=True),
    num_classes=1000,
    pool='class',
)

# lr is the base lr: it is multiplied by the effective batch / 256, processes and accumulation counted.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='LARS', lr=0.1, momentum=0.9, weight_decay=0.0, trust_coeff=0.001),
    constructor='PretrainOptim',
)
auto_scale_lr = dict(enable=True, base_batch_size=256)

# The cosine ends with train_cfg.max_epochs.
train_cfg = dict(by_epoch=True, max_epochs=90, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, begin=10, convert_to_iter_based=True),
]
