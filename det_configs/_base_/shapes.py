# Drawn scenes of tools/make_shapes.py at 128 px. Read in the main process: small images cost less than workers.
__train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
__test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        data_root='data/shapes/coco',
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='images/train'),
        pipeline=__train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        data_root='data/shapes/coco',
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='images/val'),
        test_mode=True,
        pipeline=__test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='FastCocoMetric', ann_file='data/shapes/coco/annotations/instances_val.json', metric=['bbox', 'segm']
)
test_evaluator = dict(val_evaluator, classwise=True)
