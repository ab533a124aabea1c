"""Fine-tuning of BEiT as published (arXiv 2106.08254, and its code): all but sizes and rates."""

model = dict(
    type='Classifier',
    # BEiT's own statistics, not ImageNet's.
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3, non_blocking=True),
    backbone=dict(type='PlainViT', img_size=224, patch_size=16, rel_pos='table', use_abs_pos=False),
    num_classes=1000,
    pool='mean',
    # Smoothing, erasing and RandAugment are MAE's: our choice where we know of no values of BEiT's own.
    augment=dict(mixup=0.8, cutmix=1.0, label_smoothing=0.1, erasing=0.25),
)

# lr is that of base_batch_size images: it follows the effective batch, processes and accumulation counted.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-3, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    constructor='FinetuneOptim',
    paramwise_cfg=dict(decay_rate=0.65, preset='beit_classify'),
)
auto_scale_lr = dict(enable=True, base_batch_size=1024)

# The cosine ends with train_cfg.max_epochs, at 1e-6 for the head and less for every layer below it.
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-6 / 4e-3, by_epoch=True, begin=20, convert_to_iter_based=True),
]
