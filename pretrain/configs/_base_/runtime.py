"""Logs, checkpoints and processes of pretraining."""

default_scope = 'mmengine'
custom_imports = dict(imports=['backbones', 'pretrain'])

default_hooks = dict(
    runtime_info=dict(type='DeferredLossLog'),
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=2),
    # Beside mmengine's, so that custom_hooks of a leaf or of the command line leave them in place.
    seed_each_epoch=dict(type='SeedEachEpoch'),
    stop_on_non_finite=dict(type='StopOnNonFinite'),
    watch_loader=dict(type='WatchLoader'),
    prefetch=dict(type='PrefetchToDevice'),
)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
randomness = dict(seed=0)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
