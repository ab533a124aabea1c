"""Image tokenizer of DALL-E and BEiT: 8192 codes of 8x8 pixels.

torchrun --nproc_per_node=8 tools/train.py pretrain/configs/tokenizer_base.py --launcher pytorch --amp --data-root DIR

Hardware: the paper's 64 GPUs of 16 GB, 8 images each; other numbers of GPUs need train_dataloader.batch_size=512/GPUs.
"""

_base_ = ['_base_/tokenizer.py']
