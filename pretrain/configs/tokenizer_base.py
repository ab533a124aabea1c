"""Image tokenizer of DALL-E and BEiT: 8192 codes of 8x8 pixels.

torchrun --nproc_per_node=8 tools/train.py pretrain/configs/tokenizer_base.py --launcher pytorch --amp --data-root DIR
Rates and schedules are the paper's, recalled and not checked. Our choice: ImageNet instead of its private images, 1200
epochs of it for the same 3,000,000 iterations, the crops, and the watch on the codebook.

Hardware: the paper's 64 GPUs of 16 GB, 8 images each; with fewer --batch-size 512 / GPUs.
"""

_base_ = ['_base_/tokenizer.py', '_base_/runtime.py']

default_hooks = dict(
    ema=dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.001),
    anneal=dict(
        type='AnnealTokenizer',
        temperature_end=1 / 16,
        temperature_iters=150_000,
        kl_weight_end=6.6,
        kl_weight_iters=5_000,
    ),
    watch_codebook=dict(type='WatchCodebook', least=0.1, begin=5_000),
)
