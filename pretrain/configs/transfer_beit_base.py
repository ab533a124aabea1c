"""BEiT-B/16 after ImageNet-22k with labels (intermediate_beit_base.py), fine-tuned on 1k: 30 epochs, batch 512.

torchrun --nproc_per_node 8 tools/train.py pretrain/configs/transfer_beit_base.py --launcher pytorch --data-root \
    IMAGENET --pretrained work_dirs/intermediate_beit_base/epoch_90.pth   (8 GPUs of 16 GB)
The head starts anew. The paper's weights reach 85.2 % (the paper's number, not ours).
Our choice: a warm-up of 5 epochs, as for finetune_beit_large.py; the published one is not known to us.
"""

_base_ = ['_base_/finetune_beit.py', '_base_/classify.py']

__weights = dict(type='PretrainedViT', checkpoint='work_dirs/intermediate_beit_base/epoch_90.pth')
model = dict(backbone=dict(variant='base', layer_scale=0.1, drop_path_rate=0.1, init_cfg=__weights))
train_dataloader = dict(batch_size=64, drop_last=True)
__adamw = dict(lr=2e-5, weight_decay=1e-8)
optim_wrapper = dict(type='BF16OptimWrapper', optimizer=__adamw, paramwise_cfg=dict(decay_rate=0.85))
auto_scale_lr = dict(base_batch_size=512)
train_cfg = dict(max_epochs=30)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-6 / 2e-5, by_epoch=True, begin=5, convert_to_iter_based=True),
]
