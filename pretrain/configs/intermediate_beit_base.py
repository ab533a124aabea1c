"""BEiT-B/16 trained with the labels of ImageNet-22k between pretraining and transfer: 90 epochs, batch 4096.

torchrun --nproc_per_node 8 tools/train.py pretrain/configs/intermediate_beit_base.py --launcher pytorch --data-root \
    IMAGENET22K --pretrained beit_base_patch16_224_pt22k.pth   (8 GPUs of 24 GB); then transfer_beit_base.py
Our choice: a warm-up of 5 epochs, and drop path, weight decay and augmentation of finetune_beit_base.py, as we know of
none published for this step.
"""

_base_ = ['_base_/finetune_beit.py', '_base_/classify.py']

__weights = dict(type='PretrainedViT', checkpoint='checkpoints/beit_base_patch16_224_pt22k.pth')
__backbone = dict(variant='base', layer_scale=0.1, drop_path_rate=0.1, init_cfg=__weights)
model = dict(backbone=__backbone, num_classes=21841)
train_dataloader = dict(batch_size=128, drop_last=True)
__step = dict(optimizer=dict(lr=3e-3), clip_grad=dict(max_norm=3.0), accumulative_counts=4)
optim_wrapper = dict(type='BF16OptimWrapper', **__step)
auto_scale_lr = dict(base_batch_size=4096)
train_cfg = dict(max_epochs=90)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-6 / 3e-3, by_epoch=True, begin=5, convert_to_iter_based=True),
]
