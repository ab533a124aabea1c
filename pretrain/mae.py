"""Masked autoencoder (He et al., arXiv 2111.06377): mask -> encode -> decode -> loss.

Letters: B batch, C channels, H, W grid in patches, L = H * W patches, K visible patches, D width, p patch size.
"""

from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from backbones.vit import PlainViT
from pretrain.decoder import MAEDecoder
from pretrain.masking import gather_tokens, masked_count, random_mask, visible_count, visible_index
from pretrain.patches import image_grid, normalise_patches, patch_statistics, patchify, unpatchify


@MODELS.register_module()
class MaskedAutoencoder(BaseModel):
    """Encode the visible patches only, predict the pixels of the masked ones.

    Masks come from PyTorch's generator of the images' device: the same seed gives the same masks.

    Args:
        encoder: a `PlainViT` with ``out_norm=True`` and without windows or relative positions, or its config.
        decoder: arguments of `MAEDecoder` (embed_dim, depth, num_heads); None takes the paper's.
        mask_ratio: share of masked patches.
        norm_pix: predict each patch's pixels normalised by that patch's mean and deviation.
        data_preprocessor: mmengine preprocessor that normalises on the device, or its config.

    Raises:
        ValueError: the encoder cannot be pretrained this way, or ``mask_ratio`` leaves nothing to see or to predict.
    """

    def __init__(
        self,
        encoder: dict | PlainViT,
        decoder: dict | None = None,
        mask_ratio: float = 0.75,
        norm_pix: bool = True,
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        super().__init__(data_preprocessor)
        self.encoder: PlainViT = MODELS.build(encoder) if isinstance(encoder, dict) else encoder
        check_encoder(self.encoder)
        masked_count(self.encoder.pos_grid[0] * self.encoder.pos_grid[1], mask_ratio)
        self.encoder.pos_embed.requires_grad_(False)
        self.mask_ratio = mask_ratio
        self.norm_pix = norm_pix
        patch_dim = self.encoder.patch_size**2 * self.encoder.in_channels
        self.decoder = MAEDecoder(self.encoder.embed_dim, patch_dim, self.encoder.pos_grid, **(decoder or {}))

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'
    ) -> dict[str, Tensor] | list[BaseDataElement] | tuple[Tensor, ...]:
        """Run the model on normalised images.

        Args:
            inputs: (B, C, H * p, W * p).
            data_samples: not used, part of mmengine's signature.
            mode: 'loss', 'predict' (see `predict`), or 'tensor' for the encoder's maps of the whole images.

        Raises:
            ValueError: another mode, or images that are not made of whole patches.
        """
        if mode == 'loss':
            mask = self.draw_mask(inputs)
            return {'loss': self._loss(inputs, mask, self._visible(mask))}
        if mode == 'predict':
            return self.predict(inputs)
        if mode == 'tensor':
            return self.encoder(inputs)
        raise ValueError(f"mode={mode!r} is unknown: use 'loss', 'predict' or 'tensor'")

    def draw_mask(self, images: Tensor) -> Tensor:
        """Draw a random mask, bool (B, L), True = masked, for images (B, C, H * p, W * p)."""
        height, width = image_grid(images, self.encoder.patch_size)
        return random_mask(len(images), height * width, self.mask_ratio, device=images.device)

    def loss_for_mask(self, images: Tensor, mask: Tensor) -> Tensor:
        """Loss for a mask of the caller's.

        Args:
            images: (B, C, H * p, W * p), normalised.
            mask: bool (B, L), True = masked, as many in every sample.

        Returns:
            scalar: squared error, mean over each patch, then over the masked patches.

        Raises:
            ValueError: the samples differ in their number of masked patches.
        """
        return self._loss(images, mask, visible_count(mask))

    def predict(self, images: Tensor) -> list[BaseDataElement]:
        """Mask images (B, C, H * p, W * p) and predict all their patches.

        Returns:
            per image: ``mask`` bool (L,), True = masked; ``reconstruction`` (C, H * p, W * p) in the units of the
            images. With ``norm_pix`` it takes mean and deviation of each patch from the image itself, as a
            prediction of normalised pixels says nothing about these.
        """
        mask = self.draw_mask(images)
        patches = self._decode(images, mask, self._visible(mask)).to(images.dtype)
        if self.norm_pix:
            mean, deviation = patch_statistics(patchify(images, self.encoder.patch_size))
            patches = patches * deviation + mean
        grid = image_grid(images, self.encoder.patch_size)
        pixels = unpatchify(patches, grid, self.encoder.patch_size)
        return [BaseDataElement(mask=m, reconstruction=p) for m, p in zip(mask, pixels, strict=True)]

    def _visible(self, mask: Tensor) -> int:
        """Visible patches per sample of a drawn mask (B, L), known without asking the device."""
        return mask.shape[1] - masked_count(mask.shape[1], self.mask_ratio)

    def _loss(self, images: Tensor, mask: Tensor, visible: int) -> Tensor:
        prediction = self._decode(images, mask, visible)
        target = patchify(images, self.encoder.patch_size)
        if self.norm_pix:
            target = normalise_patches(target)
        error = (prediction - target).square().mean(dim=-1)  # (B, L)
        return (error * mask).sum() / mask.sum()

    def _decode(self, images: Tensor, mask: Tensor, visible: int) -> Tensor:
        """Predict every patch, (B, L, p * p * C), from the ``visible`` unmasked ones of each image."""
        index = visible_index(mask, visible)
        tokens = gather_tokens(self.encoder.embed(images), index)
        latent = self.encoder.encode(tokens)
        return self.decoder(latent, index, image_grid(images, self.encoder.patch_size))


def check_encoder(encoder: nn.Module) -> None:
    """Refuse an encoder that cannot run on a part of the patches, or lacks the final norm of published weights.

    Raises:
        ValueError: says what to change.
    """
    if not isinstance(encoder, PlainViT):
        raise ValueError(f'MaskedAutoencoder drops tokens of a PlainViT, {type(encoder).__name__} is none')
    if encoder.needs_grid:
        raise ValueError(
            'an encoder of visible patches has no windows or relative positions: set window_size=0 '
            'and rel_pos=None here, and turn them on in the detector'
        )
    if not isinstance(encoder.norm, nn.LayerNorm):
        raise ValueError('the MAE encoder ends in a norm: set out_norm=True in the encoder')
