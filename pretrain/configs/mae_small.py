"""MAE ViT-S/16 with a narrower decoder, 800 epochs, effective batch 4096: for one GPU or a few; no published number.

torchrun --nproc_per_node 4 tools/train.py pretrain/configs/mae_small.py --launcher pytorch --data-root DIR \
    (4 GPUs of 16 GB; fewer: --accumulate N; the lr follows)
The recipe is that of mae_base.py; the decoder's width is our choice, as the paper's would outweigh the encoder.
"""

_base_ = ['_base_/mae.py', '_base_/recipe_mae.py', '_base_/runtime.py']

model = dict(encoder=dict(variant='small'), decoder=dict(embed_dim=256, depth=4, num_heads=8))
train_dataloader = dict(batch_size=256)
optim_wrapper = dict(type='BF16OptimWrapper', accumulative_counts=4)
