"""Images in class folders, evaluation and logs of fine-tuning: what MAE and BEiT have in common."""

default_scope = 'mmengine'
custom_imports = dict(imports=['backbones', 'pretrain'])

__loader = dict(
    batch_size=64,
    num_workers=8,
    # Workers start anew each epoch, so that a resumed run draws the crops of an uninterrupted one.
    persistent_workers=False,
    pin_memory=True,
    worker_init_fn=dict(type='seed_worker'),
    collate_fn=dict(type='default_collate'),
)
train_dataloader = dict(
    **__loader,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='LabelledImages', data_root='data/imagenet/train', transform=dict(type='TrainTransform', size=224)
    ),
)
val_dataloader = dict(
    **__loader,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='LabelledImages', data_root='data/imagenet/val', transform=dict(type='EvalTransform', size=224)),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='ClassAccuracy')
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()

default_hooks = dict(
    runtime_info=dict(type='DeferredLossLog'),
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(
        type='AtomicCheckpointHook', interval=1, max_keep_ckpts=2, save_best='accuracy/top1', rule='greater'
    ),
    # Beside mmengine's, so that custom_hooks of a leaf or of the command line leave them in place.
    seed_each_epoch=dict(type='SeedEachEpoch'),
    stop_on_non_finite=dict(type='StopOnNonFinite'),
    watch_loader=dict(type='WatchLoader'),
    prefetch=dict(type='PrefetchToDevice'),
    # Statistics of batch norm, of which each process has its own, before they are saved and evaluated.
    sync_buffers=dict(type='SyncBuffersHook'),
)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
randomness = dict(seed=0)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
