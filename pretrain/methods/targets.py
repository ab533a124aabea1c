"""What a pretraining model predicts for each patch, and the loss of that prediction.

Letters: B batch, C channels, H, W grid in patches, L = H * W patches, M predicted patches, p patch size, V codes.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from backbones.vit.layers import patches_at
from pretrain.masking.patches import image_grid, normalise_patches, patch_statistics, patchify, unpatchify
from pretrain.tokenizer.dvae import DiscreteVAE, load_tokenizer


@dataclass(frozen=True)
class Views:
    """A batch of images, and its additional data for targets that are not pixels.

    Attributes:
        images: (B, C, H * p, W * p), normalised.
        patch_size: side p.
        token_inputs: uint8 (B, 3, H * s, W * s), the same crops for a tokenizer of stride s.
        token_ids: int64 (B, H, W), the tokens of these crops, computed beforehand.
    """

    images: Tensor
    patch_size: int
    token_inputs: Tensor | None = None
    token_ids: Tensor | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """(H, W)."""
        return image_grid(self.images, self.patch_size)


class Target(Protocol):
    """What a pretraining model needs from its target."""

    def size(self, patch_size: int, channels: int) -> int:
        """Values predicted per patch."""

    def losses(self, prediction: Tensor, places: Tensor, views: Views) -> dict[str, Tensor]:
        """Compare a prediction (B, M, size) for the patches at ``places``, int64 (B, M), with the truth.

        ``loss`` is minimised. The other entries are only logged.
        """

    def results(self, prediction: Tensor, mask: Tensor, views: Views) -> dict[str, Tensor]:
        """Turn a prediction (B, L, size) of all patches into viewable results, one entry per image."""


class PixelTarget:
    """The pixels of a patch, raw or normalised by its own mean and deviation (arXiv 2111.06377, table 1d).

    Args:
        norm_pix: normalise.
        loss: 'l2' (MAE) or 'l1' (SimMIM, arXiv 2111.09886).

    Raises:
        ValueError: another loss.
    """

    def __init__(self, norm_pix: bool, loss: str = 'l2') -> None:
        distances = {'l2': F.mse_loss, 'l1': F.l1_loss}
        if loss not in distances:
            raise ValueError(f"loss={loss!r} is unknown: use 'l2' or 'l1'")
        self.norm_pix = norm_pix
        self.distance = distances[loss]

    def size(self, patch_size: int, channels: int) -> int:
        """Values predicted per patch: p * p * C."""
        return patch_size**2 * channels

    def losses(self, prediction: Tensor, places: Tensor, views: Views) -> dict[str, Tensor]:
        """Mean error over all pixels of the patches at ``places``."""
        # (B, M, C, p, p) -> (B, M, p p C), the order of `patchify`
        truth = patches_at(views.images, places, views.patch_size).permute(0, 1, 3, 4, 2).flatten(2)
        if self.norm_pix:
            truth = normalise_patches(truth)
        return {'loss': self.distance(prediction.to(truth.dtype), truth)}

    def results(self, prediction: Tensor, mask: Tensor, views: Views) -> dict[str, Tensor]:
        """``reconstruction`` (B, C, H * p, W * p) in the units of the images.

        With ``norm_pix``, mean and deviation of each patch are taken from the image, because a prediction of
        normalised pixels does not contain them.
        """
        patches = prediction.to(views.images.dtype)
        if self.norm_pix:
            mean, deviation = patch_statistics(patchify(views.images, views.patch_size))
            patches = patches * deviation + mean
        return {'reconstruction': unpatchify(patches, views.grid, views.patch_size)}


@MODELS.register_module()
class TokenTarget:
    """The visual token that an image tokenizer gives a patch (BEiT, arXiv 2106.08254).

    The tokenizer is already trained. It gets no gradient and is not part of the model's checkpoint.

    Args:
        tokenizer: its checkpoint, see `pretrain.tokenizer.dvae.load_tokenizer`, or the tokenizer itself.
    """

    def __init__(self, tokenizer: str | DiscreteVAE) -> None:
        self.tokenizer = load_tokenizer(tokenizer) if isinstance(tokenizer, str) else tokenizer

    def size(self, patch_size: int, channels: int) -> int:
        """Codes V of the tokenizer."""
        return self.tokenizer.vocab_size

    def losses(self, prediction: Tensor, places: Tensor, views: Views) -> dict[str, Tensor]:
        """Cross-entropy, and ``mlm_acc``, the share of tokens predicted correctly."""
        truth = self.ids(views).flatten(1).gather(1, places)
        # (B, M, V) and (B, M) -> (B M, V) and (B M)
        loss = F.cross_entropy(prediction.float().flatten(0, 1), truth.flatten())
        return {'loss': loss, 'mlm_acc': (prediction.detach().argmax(-1) == truth).float().mean()}

    def results(self, prediction: Tensor, mask: Tensor, views: Views) -> dict[str, Tensor]:
        """``tokens`` int64 (B, H, W): predicted where masked, the true ones elsewhere."""
        truth = self.ids(views)
        guess = prediction.argmax(-1).reshape(truth.shape)
        return {'tokens': torch.where(mask.reshape(truth.shape), guess, truth)}

    @torch.no_grad()
    def ids(self, views: Views) -> Tensor:
        """Token ids of a batch, int64 (B, H, W).

        Raises:
            ValueError: the batch has neither ids nor a view for the tokenizer, or they are of another grid.
        """
        device = views.images.device
        if views.token_ids is not None:
            ids = views.token_ids.to(device)
        elif views.token_inputs is not None:
            if next(self.tokenizer.parameters()).device != device:
                self.tokenizer.to(device)
            ids = self.tokenizer.encode(views.token_inputs.to(device).float() / 255)
        else:
            raise ValueError(
                'tokens are predicted from a second view: set token_size in the dataset (UnlabelledImages), '
                'or use cached ids (CachedTokenImages)'
            )
        if ids.shape[1:] != views.grid:
            side = self.tokenizer.stride
            raise ValueError(
                f'{views.grid[0]}x{views.grid[1]} patches and {ids.shape[1]}x{ids.shape[2]} tokens do not pair: '
                f'set token_size=({views.grid[0] * side}, {views.grid[1] * side}) in the dataset'
            )
        return ids
