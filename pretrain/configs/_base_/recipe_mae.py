"""Data, optimizer and schedule of MAE (arXiv 2111.06377, appendix A)."""

train_dataloader = dict(
    batch_size=64,
    # A last batch of a few images would weigh as much as a whole one.
    drop_last=True,
    num_workers=8,
    # Workers start anew each epoch, so that a resumed run draws the crops of an uninterrupted one.
    persistent_workers=False,
    pin_memory=True,
    worker_init_fn=dict(type='seed_worker'),
    # One uint8 tensor per batch: a single copy to the device, normalised there.
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='UnlabelledImages', data_root='data/imagenet/train', crop_size=224, crop_scale=(0.2, 1.0)),
)

# lr is the base lr: it is multiplied by the effective batch / 256, processes and accumulation counted.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    constructor='PretrainOptim',
)
auto_scale_lr = dict(enable=True, base_batch_size=256)

# The cosine ends with train_cfg.max_epochs.
train_cfg = dict(by_epoch=True, max_epochs=800)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=40, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, begin=40, convert_to_iter_based=True),
]
