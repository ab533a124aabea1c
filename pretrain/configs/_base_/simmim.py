"""Pixel regression after SimMIM, on a plain ViT: all but the encoder's size."""

model = dict(
    type='SimMIM',
    data_preprocessor=dict(
        type='ImgDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], non_blocking=True
    ),
    encoder=dict(type='PlainViT', img_size=224, out_norm=True),
    mask_ratio=0.6,
)
