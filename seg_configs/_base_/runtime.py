custom_imports = dict(imports=['backbones'])
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl')
)
default_hooks = dict(
    runtime_info=dict(type='DeferredLossLog'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='AtomicCheckpointHook', by_epoch=False, interval=16000, max_keep_ckpts=2, save_best='mIoU', rule='greater'
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # Beside the usual ones, so that custom_hooks of a leaf or of the command line leave them in place.
    seed_each_iteration=dict(type='SeedEachIteration'),
    stop_on_non_finite=dict(type='StopOnNonFinite'),
    watch_loader=dict(type='WatchLoader'),
)
visualizer = dict(
    type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
)
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
