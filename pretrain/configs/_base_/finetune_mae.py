"""Fine-tuning of MAE as published (arXiv 2111.06377, appendix A, and its code): all but sizes and rates."""

model = dict(
    type='Classifier',
    data_preprocessor=dict(
        type='ImgDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], non_blocking=True
    ),
    backbone=dict(type='PlainViT', img_size=224, patch_size=16),
    num_classes=1000,
    pool='mean',
    augment=dict(mixup=0.8, cutmix=1.0, label_smoothing=0.1, erasing=0.25),
)

# lr is the base lr: it is multiplied by the effective batch / 256, processes and accumulation counted.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    constructor='FinetuneOptim',
    paramwise_cfg=dict(decay_rate=0.65, preset='mae'),
)
auto_scale_lr = dict(enable=True, base_batch_size=256)

# The cosine ends with train_cfg.max_epochs, at 1e-6 for the head and less for every layer below it.
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-6 / 2e-3, by_epoch=True, begin=5, convert_to_iter_based=True),
]
