"""Denoising autoencoder, a baseline of no paper: all but the encoder's size."""

model = dict(
    type='DenoisingAutoencoder',
    data_preprocessor=dict(
        type='ImgDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], non_blocking=True
    ),
    encoder=dict(type='PlainViT', img_size=224, out_norm=True),
    noise=1.0,
)
