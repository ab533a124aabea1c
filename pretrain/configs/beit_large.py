"""BEiT ViT-L/16 on ImageNet-1k, 800 epochs, effective batch 2048.

torchrun --nproc_per_node 8 tools/train.py pretrain/configs/beit_large.py --launcher pytorch   (8 GPUs of 40 GB)
The tokenizer as in beit_base.py. The paper: 85.2 % on ImageNet-1k, fine-tuned (the paper's number, not ours).
"""

_base_ = ['_base_/beit.py', '_base_/recipe_beit.py', '_base_/runtime.py']

model = dict(encoder=dict(variant='large', layer_scale=1e-5))
optim_wrapper = dict(type='BF16OptimWrapper', accumulative_counts=4)
