"""Linear probe of every layer as BEiT's code has it: all but the encoder's size and layer scale."""

model = dict(
    type='LayerProbes',
    # BEiT's own statistics, not ImageNet's.
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3, non_blocking=True),
    backbone=dict(type='PlainViT', img_size=224, patch_size=16, rel_pos='shared_table', use_abs_pos=False),
    num_classes=1000,
)

# 4e-3 at an effective batch of 1024. Biases do not decay, where BEiT takes 1e-4 for them too.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4, fused=True),
    constructor='PretrainOptim',
)
auto_scale_lr = dict(enable=True, base_batch_size=256)

train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True)]
