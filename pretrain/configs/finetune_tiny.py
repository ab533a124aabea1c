"""MAE ViT-tiny fine-tuned on a small set of one's own, averaged weights (EMA) evaluated: CPU; no paper reports it.

python tools/train.py pretrain/configs/finetune_tiny.py --data-root DIR --pretrained WORK_DIR/epoch_20.pth
"""

_base_ = ['_base_/finetune_mae.py', '_base_/classify.py']

model = dict(backbone=dict(variant='tiny'))
train_dataloader = dict(batch_size=32, num_workers=1, pin_memory=False)
val_dataloader = dict(num_workers=1, pin_memory=False)
test_dataloader = dict(num_workers=1, pin_memory=False)
# A few hundred iterations need a higher rate than the paper's hundred thousand, and a milder decay.
optim_wrapper = dict(optimizer=dict(lr=4e-3), paramwise_cfg=dict(decay_rate=0.75))
train_cfg = dict(max_epochs=20)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=True, begin=2, convert_to_iter_based=True),
]
__average = dict(type='EMAHook', ema_type='MomentumAnnealingEMA', gamma=10)
default_hooks = dict(logger=dict(interval=10), ema=__average)
