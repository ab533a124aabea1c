"""MAE ViT-tiny probed by a linear layer on a small set of one's own: CPU; no paper reports it.

python tools/train.py pretrain/configs/linear_tiny.py --data-root DIR --pretrained WORK_DIR/epoch_20.pth
"""

_base_ = ['_base_/linear.py', '_base_/classify.py']

model = dict(backbone=dict(variant='tiny'))
train_dataloader = dict(
    batch_size=32, num_workers=1, pin_memory=False, drop_last=True, dataset=dict(transform=dict(rand_augment=None))
)
val_dataloader = dict(num_workers=1, pin_memory=False)
test_dataloader = dict(num_workers=1, pin_memory=False)
# LARS moves biases by the full rate, which takes the paper's batch of 16384: with 32 images they only jump.
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.08, momentum=0.9))
train_cfg = dict(max_epochs=20)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True, begin=2, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=10))
