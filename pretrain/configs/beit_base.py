"""BEiT ViT-B/16 on ImageNet-1k, 800 epochs, effective batch 2048.

torchrun --nproc_per_node 8 tools/train.py pretrain/configs/beit_base.py --launcher pytorch   (8 GPUs of 24 GB or more)
The tokenizer is DALL-E's encoder.pkl, or your own (tokenizer_base.py): model.target.tokenizer=PATH by --cfg-options.
The paper reaches 83.2 % on ImageNet-1k after fine-tuning (the paper's number, not ours).
"""

_base_ = ['_base_/beit.py', '_base_/recipe_beit.py', '_base_/runtime.py']

model = dict(encoder=dict(variant='base', layer_scale=0.1))
optim_wrapper = dict(type='BF16OptimWrapper', accumulative_counts=4)
