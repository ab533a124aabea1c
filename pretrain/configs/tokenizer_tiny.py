"""Small image tokenizer, 512 codes of 8x8 pixels, for a thousand images: half an hour on CPU; no paper reports it.

python tools/train.py pretrain/configs/tokenizer_tiny.py --amp --data-root DIR
"""

_base_ = ['_base_/tokenizer.py', '_base_/runtime.py']

model = dict(tokenizer=dict(vocab_size=512, hidden=32, blocks=1))
train_dataloader = dict(batch_size=16, num_workers=0, pin_memory=False, dataset=dict(crop_size=64))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
train_cfg = dict(max_epochs=45)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, convert_to_iter_based=True)]
default_hooks = dict(
    ema=dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.005),
    spread=dict(type='SpreadCodes', deviation=3.0),
    anneal=dict(
        type='AnnealTokenizer', temperature_end=1 / 16, temperature_iters=2000, kl_weight_end=6.6, kl_weight_iters=0
    ),
    watch_codebook=dict(type='WatchCodebook', least=0.1, begin=500),
    logger=dict(interval=25),
    checkpoint=dict(interval=5),
)
