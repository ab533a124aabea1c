"""BEiT-B/16 fine-tuned at 224 pixels (finetune_beit_base.py) goes on at 384, head included: 10 epochs.

torchrun --nproc_per_node 8 tools/train.py pretrain/configs/finetune_beit_base_384.py --launcher pytorch --data-root \
    IMAGENET --pretrained work_dirs/finetune_beit_base/epoch_100.pth   (8 GPUs of 40 GB)
The paper reports 84.6 % at 384 pixels, pretrained on ImageNet-1k (the paper's number, recalled and not checked).
Our choice: the rates of transfer_beit_base.py for 10 epochs without warm-up, as the model is trained already.
"""

_base_ = ['_base_/finetune_beit.py', '_base_/classify.py']

__weights = dict(type='PretrainedViT', checkpoint='work_dirs/finetune_beit_base/epoch_100.pth')
__backbone = dict(variant='base', img_size=384, layer_scale=0.1, drop_path_rate=0.1, init_cfg=__weights)
model = dict(backbone=__backbone)
train_dataloader = dict(batch_size=64, drop_last=True, dataset=dict(transform=dict(size=384)))
val_dataloader = dict(dataset=dict(transform=dict(size=384)))
test_dataloader = val_dataloader
__adamw = dict(lr=2e-5, weight_decay=1e-8)
optim_wrapper = dict(type='BF16OptimWrapper', optimizer=__adamw, paramwise_cfg=dict(decay_rate=0.85))
auto_scale_lr = dict(base_batch_size=512)
train_cfg = dict(max_epochs=10)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min_ratio=1e-6 / 2e-5, by_epoch=True, convert_to_iter_based=True)]
default_hooks = dict(keep_head=dict(type='KeepHead'))
