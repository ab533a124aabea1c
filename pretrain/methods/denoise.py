"""Denoising autoencoder (Vincent et al., JMLR 11, 2010) with a ViT: noise in place of masks.

Letters: B batch, C channels, L patches, D width, p patch size.
"""

import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from backbones.vit import PlainViT
from backbones.vit.linear import Linear
from pretrain.masking.patches import image_grid
from pretrain.methods.masked_model import PretrainingModel, per_image, pixel_target
from pretrain.methods.targets import Target, Views


@MODELS.register_module()
class DenoisingAutoencoder(PretrainingModel):
    """Add Gaussian noise to the whole image, and predict every clean patch with a linear layer on the encoder.

    Args:
        encoder: a `PlainViT` with ``out_norm=True``, or its config.
        noise: deviation of the noise, relative to that of the normalised image.
        norm_pix: predict pixels normalised by each patch's mean and deviation.
        target: what to predict instead of pixels, such as ``dict(type='TokenTarget', tokenizer=PATH)``.
        data_preprocessor: mmengine preprocessor that normalises on the device, or its config.

    Raises:
        ValueError: see `PretrainingModel`; or ``noise`` is not above zero.
    """

    def __init__(
        self,
        encoder: dict | PlainViT,
        noise: float = 1.0,
        norm_pix: bool = False,
        target: dict | Target | None = None,
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        super().__init__(encoder, pixel_target(norm_pix, target), data_preprocessor)
        if noise <= 0:
            raise ValueError(f'noise={noise} leaves nothing to learn: use a deviation above 0')
        self.noise = noise
        self.head = Linear(self.encoder.embed_dim, self.target_size)

    def losses(self, views: Views) -> dict[str, Tensor]:
        """See `PretrainingModel.losses`; every patch counts."""
        prediction = self._predict(self.corrupt(views.images))
        return self.target.losses(prediction, self._everywhere(views), views)

    @torch.no_grad()
    def predict(self, views: Views) -> list[BaseDataElement]:
        """Corrupt images and clean them.

        Returns:
            per image: ``corrupted`` (C, H * p, W * p), and the results that the target derives from the prediction.
        """
        corrupted = self.corrupt(views.images)
        everything = torch.ones_like(self._everywhere(views), dtype=torch.bool)
        results = self.target.results(self._predict(corrupted), everything, views)
        return per_image({'corrupted': corrupted, **results})

    def corrupt(self, images: Tensor) -> Tensor:
        """Add noise to normalised images (B, C, h, w)."""
        return images + self.noise * torch.randn_like(images)

    def _predict(self, images: Tensor) -> Tensor:
        """Predict every patch, (B, L, target_size)."""
        grid = image_grid(images, self.encoder.patch_size)
        tokens = self.encoder.encode(self.encoder.embed(images), grid)
        return self.head(tokens[:, self.encoder.num_prefix_tokens :])

    def _everywhere(self, views: Views) -> Tensor:
        """Places of all patches, int64 (B, L)."""
        height, width = views.grid
        return torch.arange(height * width, device=views.images.device).expand(len(views.images), -1)
