"""Data, optimizer and schedule of BEiT on ImageNet-1k (arXiv 2106.08254, appendix; released code)."""

train_dataloader = dict(
    batch_size=64,
    # A last batch of a few images would weigh as much as a whole one.
    drop_last=True,
    num_workers=8,
    persistent_workers=False,
    pin_memory=True,
    worker_init_fn=dict(type='seed_worker'),
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='UnlabelledImages',
        data_root='data/imagenet/train',
        crop_size=224,
        crop_scale=(0.08, 1.0),
        color_jitter=0.4,
        # The tokenizer sees a code per 8 pixels, the ViT a patch per 16.
        token_size=112,
    ),
)

# lr is for an effective batch of 2048, processes and accumulation counted.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=3.0),
    constructor='PretrainOptim',
    paramwise_cfg=dict(undecayed=['cls_token', 'pos_embed']),
)
auto_scale_lr = dict(enable=True, base_batch_size=2048)

# The cosine ends with train_cfg.max_epochs. All parameters share one lr, so that eta_min is a floor for all.
train_cfg = dict(by_epoch=True, max_epochs=800)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=10, convert_to_iter_based=True),
]
