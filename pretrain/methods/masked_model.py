"""The part that the pretraining models share: corrupt -> predict -> loss against a target.

Letters: B batch, C channels, H, W grid in patches, L = H * W patches, K visible, M masked patches, D width, p patch.
"""

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from backbones.vit import PlainViT
from pretrain.data.randomness import seed_step
from pretrain.masking.masks import MASK_KINDS, draw_mask, masked_count, split_places, visible_count
from pretrain.masking.patches import image_grid
from pretrain.methods.targets import PixelTarget, Target, Views


class PretrainingModel(BaseModel):
    """Base of the pretraining models: an encoder, a target, and mmengine's three modes.

    Args:
        encoder: a `PlainViT` with ``out_norm=True``, or its config.
        target: what is predicted, or its config.
        data_preprocessor: mmengine preprocessor that normalises on the device, or its config.

    Raises:
        ValueError: the encoder is of another class or has no final norm.

    Attributes:
        trained_size: height and width of the training images, if a checkpoint states it; None means the encoder's.
    """

    trained_size: tuple[int, int] | None = None

    def __init__(
        self, encoder: dict | PlainViT, target: dict | Target, data_preprocessor: dict | nn.Module | None
    ) -> None:
        super().__init__(data_preprocessor)
        self.encoder: PlainViT = MODELS.build(encoder) if isinstance(encoder, dict) else encoder
        check_encoder(self.encoder, type(self).__name__)
        self.target: Target = MODELS.build(target) if isinstance(target, dict) else target
        self.target_size = self.target.size(self.encoder.patch_size, self.encoder.in_channels)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that the model was trained on."""
        patch, (rows, columns) = self.encoder.patch_size, self.encoder.pos_grid
        return self.trained_size or (rows * patch, columns * patch)

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Corrupt a batch and compare the prediction with the target: ``loss``, and other values to log."""
        raise NotImplementedError

    def predict(self, views: Views) -> list[BaseDataElement]:
        """Corrupt a batch and predict all its patches."""
        raise NotImplementedError

    def forward(
        self,
        inputs: Tensor,
        data_samples: list | None = None,
        mode: str = 'tensor',
        token_inputs: Tensor | None = None,
        token_ids: Tensor | None = None,
    ) -> dict[str, Tensor] | list[BaseDataElement] | tuple[Tensor, ...]:
        """Run the model on normalised images.

        Args:
            inputs: (B, C, H * p, W * p).
            data_samples: not used, part of mmengine's signature.
            mode: 'loss', 'predict', or 'tensor' for the encoder's maps of the whole images.
            token_inputs: see `pretrain.methods.targets.Views`.
            token_ids: see `pretrain.methods.targets.Views`.

        Raises:
            ValueError: another mode, or images that are not made of whole patches.
        """
        if mode == 'tensor':
            return self.encoder(inputs)
        views = Views(inputs, self.encoder.patch_size, token_inputs, token_ids)
        if mode == 'loss':
            seed_step()
            return self.losses(views)
        if mode == 'predict':
            return self.predict(views)
        raise ValueError(f"mode={mode!r} is unknown: use 'loss', 'predict' or 'tensor'")


class MaskedImageModel(PretrainingModel):
    """Base of the models that hide patches; each method implements `predict_patches`.

    Masks come from PyTorch's generator, so the same seed gives the same masks. When a Runner trains, each step sets a
    new seed, see `pretrain.data.randomness.seed_step`.

    Args:
        encoder: see `PretrainingModel`.
        target: see `PretrainingModel`.
        mask: kind of mask, see `pretrain.masking.masks.MASK_KINDS`.
        mask_ratio: share of masked patches.
        data_preprocessor: see `PretrainingModel`.

    Raises:
        ValueError: see `PretrainingModel`; or ``mask`` is unknown, or ``mask_ratio`` leaves no patch visible or none
            to predict.
    """

    def __init__(
        self,
        encoder: dict | PlainViT,
        target: dict | Target,
        mask: str,
        mask_ratio: float,
        data_preprocessor: dict | nn.Module | None,
    ) -> None:
        super().__init__(encoder, target, data_preprocessor)
        if mask not in MASK_KINDS:
            raise ValueError(f'mask={mask!r} is unknown: use one of {", ".join(MASK_KINDS)}')
        masked_count(self.encoder.pos_grid[0] * self.encoder.pos_grid[1], mask_ratio)
        self.mask = mask
        self.mask_ratio = mask_ratio

    def predict_patches(self, images: Tensor, mask: Tensor, visible: int, places: Tensor) -> Tensor:
        """Predict the patches at the given places of masked images.

        Args:
            images: (B, C, H * p, W * p), normalised.
            mask: bool (B, L), True = masked, with ``visible`` visible patches in every sample.
            visible: K; passed in so that the method need not wait for the device.
            places: int64 (B, M).

        Returns:
            (B, M, target_size).
        """
        raise NotImplementedError

    def draw_mask(self, images: Tensor) -> Tensor:
        """Draw a mask, bool (B, L), True = masked, for images (B, C, H * p, W * p)."""
        grid = image_grid(images, self.encoder.patch_size)
        return draw_mask(self.mask, len(images), grid, self.mask_ratio, device=images.device)

    def losses(self, views: Views) -> dict[str, Tensor]:
        """See `PretrainingModel.losses`."""
        mask = self.draw_mask(views.images)
        return self._losses(views, mask, mask.shape[1] - masked_count(mask.shape[1], self.mask_ratio))

    def losses_for_mask(self, views: Views, mask: Tensor) -> dict[str, Tensor]:
        """Losses for a mask that the caller gives.

        Args:
            views: the batch.
            mask: bool (B, L), True = masked, with the same number of masked patches in every sample.

        Raises:
            ValueError: the samples differ in their number of masked patches.
        """
        return self._losses(views, mask, visible_count(mask))

    def predict(self, views: Views) -> list[BaseDataElement]:
        """See `predict_for_mask`; the mask is drawn."""
        return self.predict_for_mask(views, self.draw_mask(views.images))

    @torch.no_grad()
    def predict_for_mask(self, views: Views, mask: Tensor) -> list[BaseDataElement]:
        """Predict all patches of masked images.

        Args:
            views: the batch.
            mask: bool (B, L), True = masked, with the same number of masked patches in every sample.

        Returns:
            per image: ``mask`` bool (L,), and the result that the target derives from the prediction
            (`Target.results`): ``reconstruction`` or ``tokens``.

        Raises:
            ValueError: see `losses_for_mask`.
        """
        everywhere = torch.arange(mask.shape[1], device=mask.device).expand(len(mask), -1)
        prediction = self.predict_patches(views.images, mask, visible_count(mask), everywhere)
        return per_image({'mask': mask, **self.target.results(prediction, mask, views)})

    def _losses(self, views: Views, mask: Tensor, visible: int) -> dict[str, Tensor]:
        places = split_places(mask, visible)[1]
        prediction = self.predict_patches(views.images, mask, visible, places)
        return self.target.losses(prediction, places, views)


def per_image(results: dict[str, Tensor]) -> list[BaseDataElement]:
    """Split a batch of results into one element per image, the form in which mmengine expects predictions."""
    count = len(next(iter(results.values())))
    return [BaseDataElement(**{name: value[index] for name, value in results.items()}) for index in range(count)]


def pixel_target(norm_pix: bool, target: dict | Target | None, loss: str = 'l2') -> dict | Target:
    """Return the target given, or pixels if there is none."""
    return PixelTarget(norm_pix, loss) if target is None else target


def check_encoder(encoder: nn.Module, method: str) -> None:
    """Refuse an encoder of another class, or one without the final norm of published weights.

    Raises:
        ValueError: says what to change.
    """
    if not isinstance(encoder, PlainViT):
        raise ValueError(f'{method} masks patches of a PlainViT, {type(encoder).__name__} is none')
    if not isinstance(encoder.norm, nn.LayerNorm):
        raise ValueError(f'the encoder of {method} ends in a norm: set out_norm=True in the encoder')


def check_drops_tokens(encoder: PlainViT) -> None:
    """Refuse an encoder that cannot run on a subset of the patches.

    Raises:
        ValueError: says what to change.
    """
    if encoder.needs_grid:
        raise ValueError(
            'an encoder of visible patches has no windows or relative positions: set window_size=0 '
            'and rel_pos=None here, and turn them on in the detector'
        )
