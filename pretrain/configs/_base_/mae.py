"""MAE as published (arXiv 2111.06377): all but the encoder's size."""

model = dict(
    type='MaskedAutoencoder',
    data_preprocessor=dict(
        type='ImgDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        non_blocking=True,
    ),
    encoder=dict(type='PlainViT', img_size=224, patch_size=16, out_norm=True),
    decoder=dict(embed_dim=512, depth=8, num_heads=16),
    mask_ratio=0.75,
    norm_pix=True,
)
