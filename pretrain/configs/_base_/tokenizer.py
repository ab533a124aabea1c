"""Image tokenizer as published (arXiv 2102.12092, appendix A.2), in epochs of ImageNet instead of their images."""

default_scope = 'mmengine'
custom_imports = dict(imports=['backbones', 'pretrain'])

model = dict(
    type='TokenizerTraining',
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3, non_blocking=True),
    tokenizer=dict(type='DiscreteVAE', vocab_size=8192, hidden=256, groups=4, blocks=2, decoder_init=128),
)

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    # Workers start anew each epoch, so that a resumed run draws the crops of an uninterrupted one.
    persistent_workers=False,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='UnlabelledImages', data_root='data/imagenet/train', crop_size=256, crop_scale=(0.2, 1.0)),
)

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-4))

# 3,000,000 iterations at a batch of 512; the lr falls in the first 1,200,000.
train_cfg = dict(by_epoch=True, max_epochs=1200)
param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min=1.25e-6, by_epoch=True, begin=0, end=480, convert_to_iter_based=True)
]

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
)
custom_hooks = [
    dict(type='SeedEachEpoch'),
    dict(type='StopOnNonFinite'),
    # Checkpoints hold the averaged weights as state_dict.
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.001),
    dict(
        type='AnnealTokenizer',
        temperature_end=1 / 16,
        temperature_iters=150_000,
        kl_weight_end=6.6,
        kl_weight_iters=5_000,
    ),
    dict(type='WatchCodebook', least=0.1, begin=5_000),
]
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
randomness = dict(seed=0)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
