"""BEiT-B/16 probed by a linear layer on each block on ImageNet-1k, 100 epochs, effective batch 1024, best layer told.

torchrun --nproc_per_node 8 tools/train.py pretrain/configs/linear_beit_base.py --launcher pytorch \
    --data-root IMAGENET --pretrained WORK_DIR/epoch_800.pth   (8 GPUs of 16 GB)
Pretrained on ImageNet-1k the paper's weights reach 56.7 % (the paper's number, not ours).
"""

_base_ = ['_base_/layers_beit.py', '_base_/classify.py']

model = dict(backbone=dict(variant='base', layer_scale=0.1))
train_dataloader = dict(batch_size=128, drop_last=True, dataset=dict(transform=dict(rand_augment=None)))
val_evaluator = dict(type='LayerAccuracy', _delete_=True)
test_evaluator = dict(type='LayerAccuracy', _delete_=True)
optim_wrapper = dict(type='BF16OptimWrapper')
