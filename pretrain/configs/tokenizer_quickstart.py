"""Image tokenizer of 64 codes for the drawn scenes of tools/make_shapes.py: a minute on CPU; no paper reports it.

python tools/train.py pretrain/configs/tokenizer_quickstart.py --data-root SHAPES/unlabelled
"""

_base_ = ['_base_/tokenizer.py', '_base_/runtime.py']

model = dict(tokenizer=dict(vocab_size=64, hidden=16, blocks=1, decoder_init=32))
train_dataloader = dict(
    batch_size=16, drop_last=False, num_workers=1, pin_memory=False, dataset=dict(crop_size=64, crop_scale=(0.4, 1.0))
)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
train_cfg = dict(max_epochs=2)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, convert_to_iter_based=True)]
default_hooks = dict(
    ema=dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.02),
    spread=dict(type='SpreadCodes', deviation=3.0),
    anneal=dict(
        type='AnnealTokenizer', temperature_end=1 / 16, temperature_iters=400, kl_weight_end=6.6, kl_weight_iters=0
    ),
    watch_codebook=dict(type='WatchCodebook', least=0.1, begin=200),
    logger=dict(interval=32),
    checkpoint=dict(interval=1),
)
