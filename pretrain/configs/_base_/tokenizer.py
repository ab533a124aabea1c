"""Image tokenizer after arXiv 2102.12092, appendix A.2, on ImageNet instead of their images; see tokenizer_base.py."""

model = dict(
    type='TokenizerTraining',
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3, non_blocking=True),
    tokenizer=dict(type='DiscreteVAE', vocab_size=8192, hidden=256, groups=4, blocks=2, decoder_init=128),
)

train_dataloader = dict(
    batch_size=8,
    # A last batch of a few images would weigh as much as a whole one.
    drop_last=True,
    num_workers=4,
    # Workers start anew each epoch, so that a resumed run draws the crops of an uninterrupted one.
    persistent_workers=False,
    pin_memory=True,
    worker_init_fn=dict(type='seed_worker'),
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='UnlabelledImages', data_root='data/imagenet/train', crop_size=256, crop_scale=(0.2, 1.0)),
)

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-4, fused=True)
)

# 3,000,000 iterations at a batch of 512; the lr falls in the first 1,200,000.
train_cfg = dict(by_epoch=True, max_epochs=1200)
param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min=1.25e-6, by_epoch=True, begin=0, end=480, convert_to_iter_based=True)
]
