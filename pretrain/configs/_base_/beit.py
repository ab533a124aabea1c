"""BEiT as published (arXiv 2106.08254): all but the encoder's size and layer scale."""

model = dict(
    type='BEiTPretraining',
    # BEiT's own statistics, not ImageNet's.
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3, non_blocking=True),
    encoder=dict(
        type='PlainViT',
        img_size=224,
        patch_size=16,
        out_norm=True,
        rel_pos='shared_table',
        use_abs_pos=False,
        drop_path_rate=0.1,
    ),
    target=dict(type='TokenTarget', tokenizer='data/dalle_encoder.pkl'),
    mask='block',
    # 75 of 196 patches, as the code does; the paper says 40 %.
    mask_ratio=75 / 196,
)
