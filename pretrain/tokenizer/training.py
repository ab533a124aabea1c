"""Training of the image tokenizer (arXiv 2102.12092, appendix A.2): relaxed codes, reconstruction and KL.

Letters: B batch, V codes, h, w grid of codes, s stride.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from pretrain.data.randomness import seed_step
from pretrain.tokenizer.dvae import DiscreteVAE, map_pixels
from pretrain.tokenizer.layers import Convolution

# The usage of codes is reported for about the last hundred batches, because one batch may have fewer places than codes.
WINDOW = 100


@MODELS.register_module()
class TokenizerTraining(BaseModel):
    """Trains a `DiscreteVAE` on images in [0, 1].

    `pretrain.tokenizer.hooks.AnnealTokenizer` sets ``temperature`` and ``kl_weight``.

    Args:
        tokenizer: the `DiscreteVAE`, or its config.
        data_preprocessor: mmengine preprocessor that maps images to [0, 1] (``mean=[0] * 3, std=[255] * 3``), or its
            config.
        reconstruction: loss of the reconstructed images, a key of `RECONSTRUCTIONS`.

    Raises:
        ValueError: ``reconstruction`` is unknown.
    """

    temperature: Tensor
    kl_weight: Tensor
    usage: Tensor
    unseen: Tensor

    def __init__(
        self,
        tokenizer: dict | DiscreteVAE,
        data_preprocessor: dict | nn.Module | None = None,
        reconstruction: str = 'logit_laplace',
    ) -> None:
        super().__init__(data_preprocessor)
        if reconstruction not in RECONSTRUCTIONS:
            raise ValueError(f'reconstruction={reconstruction!r} is unknown: use one of {", ".join(RECONSTRUCTIONS)}')
        self.reconstruction = RECONSTRUCTIONS[reconstruction]
        self.tokenizer: DiscreteVAE = MODELS.build(tokenizer) if isinstance(tokenizer, dict) else tokenizer
        # These are tensors so that graphs are not compiled again for each value. They are not in checkpoints, because
        # the hook sets both from the iteration.
        self.register_buffer('temperature', torch.tensor(1.0), persistent=False)
        self.register_buffer('kl_weight', torch.tensor(0.0), persistent=False)
        self.register_buffer('usage', torch.zeros(self.tokenizer.vocab_size), persistent=False)
        self.register_buffer('unseen', torch.full((self.tokenizer.vocab_size,), WINDOW), persistent=False)

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'
    ) -> dict[str, Tensor] | Tensor:
        """Run the tokenizer on images.

        Args:
            inputs: (B, 3, h * s, w * s) in [0, 1].
            data_samples: not used, part of mmengine's signature.
            mode: 'loss', or 'tensor' for the ids, int64 (B, h, w).

        Raises:
            ValueError: another mode, or images that are not made of whole codes.
        """
        if mode == 'loss':
            seed_step()
            return self._loss(inputs)
        if mode == 'tensor':
            return self.tokenizer.encode(inputs)
        raise ValueError(f"mode={mode!r} is unknown: use 'loss' or 'tensor'")

    @torch.no_grad()
    def spread_codes(self, inputs: Tensor, deviation: float) -> None:
        """Scale the encoder's last layer so that each code's logit has mean 0 and the given deviation over the images.

        With random weights, the mean logits differ more between codes than one code's logits differ between places.
        Then a few codes win everywhere and the others never learn (compare weight normalisation, arXiv 1602.07868,
        section 3).

        Args:
            inputs: (B, 3, h * s, w * s) in [0, 1]; each process passes its own, and all of them count.
            deviation: wanted deviation of each logit over the B * h * w places.
        """
        assert self.tokenizer.encoder is not None
        last = self.tokenizer.encoder.blocks.get_submodule('output.conv')
        assert isinstance(last, Convolution)
        # (B, V, h, w) -> (V, B h w); float64, because the square of a mean is subtracted from a mean of squares.
        logits = self.tokenizer.logits(inputs).double().transpose(0, 1).flatten(1)
        sums = torch.stack(
            [logits.sum(dim=1), logits.square().sum(dim=1), torch.full_like(logits[:, 0], logits.shape[1])]
        )
        # Summed over the batches of all processes, because their weights have to stay equal.
        all_reduce(sums)
        mean, count = sums[0] / sums[2], sums[2]
        factor = (deviation / ((sums[1] / count - mean.square()) * count / (count - 1)).sqrt()).float()
        last.b.copy_((last.b - mean.float()) * factor)
        last.w.mul_(factor[:, None, None, None])

    def _loss(self, images: Tensor) -> dict[str, Tensor]:
        tokenizer = self.tokenizer
        assert tokenizer.decoder is not None
        logits = tokenizer.logits(images).float()
        codes = relaxed_codes(logits, self.temperature)
        reconstruction = self.reconstruction(tokenizer.decoder(codes).float(), map_pixels(images.float()))
        kl = kl_to_uniform(logits)
        # Per pixel value, like the reconstruction: one code stands for 3 s^2 values.
        loss = reconstruction + self.kl_weight * kl / (3 * tokenizer.stride**2)
        perplexity, used = self._count(logits.argmax(dim=1))
        shown = dict(reconstruction=reconstruction.detach(), kl=kl.detach(), perplexity=perplexity, codes_used=used)
        return dict(loss=loss, temperature=self.temperature.clone(), kl_weight=self.kl_weight.clone(), **shown)

    @torch.no_grad()
    def _count(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Perplexity and share of codes used in the last batches of this process, without waiting for the device."""
        flat = ids.flatten()
        self.usage.mul_(1 - 1 / WINDOW).scatter_add_(0, flat, torch.ones_like(flat, dtype=self.usage.dtype))
        self.unseen.add_(1).scatter_(0, flat, 0)
        return perplexity(self.usage), (self.unseen < WINDOW).float().mean()


def relaxed_codes(logits: Tensor, temperature: Tensor) -> Tensor:
    """Draw nearly one-hot codes through which gradients pass (Gumbel-softmax, arXiv 1611.01144).

    Args:
        logits: (B, V, h, w).
        temperature: scalar; as it approaches 0, the draws become one-hot.

    Returns:
        (B, V, h, w), which sums to 1 over V.
    """
    gumbel = -torch.empty_like(logits).exponential_().log()
    return ((logits + gumbel) / temperature).softmax(dim=1)


def kl_to_uniform(logits: Tensor) -> Tensor:
    """KL divergence in nats of each place's code distribution from the uniform one, averaged over the places.

    Args:
        logits: (B, V, h, w).

    Returns:
        scalar, between 0 and log V.
    """
    log_share = logits.log_softmax(dim=1)
    return (log_share.exp() * log_share).sum(dim=1).mean() + math.log(logits.shape[1])


def logit_laplace_loss(outputs: Tensor, pixels: Tensor) -> Tensor:
    """Negative log-likelihood of pixels under logit-Laplace distributions (arXiv 2102.12092, appendix A.3).

    Args:
        outputs: (B, 6, H, W): three locations, then the logarithms of three scales.
        pixels: (B, 3, H, W), from `map_pixels`.

    Returns:
        scalar: mean over all values, in nats.
    """
    location, log_scale = outputs.chunk(2, dim=1)
    distance = (torch.logit(pixels) - location).abs()
    return (distance * (-log_scale).exp() + log_scale + math.log(2) + (pixels * (1 - pixels)).log()).mean()


def l2_loss(outputs: Tensor, pixels: Tensor) -> Tensor:
    """Mean square error of the locations, mapped to (0, 1); arguments as in `logit_laplace_loss`."""
    return F.mse_loss(outputs[:, :3].sigmoid(), pixels)


def l1_loss(outputs: Tensor, pixels: Tensor) -> Tensor:
    """Mean absolute error of the locations, mapped to (0, 1); arguments as in `logit_laplace_loss`."""
    return F.l1_loss(outputs[:, :3].sigmoid(), pixels)


# The likelihood, and two plain distances, which do not use the three scales and do not train them.
RECONSTRUCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    'logit_laplace': logit_laplace_loss,
    'l2': l2_loss,
    'l1': l1_loss,
}


def perplexity(counts: Tensor) -> Tensor:
    """Exponential of the entropy of counts (V,): V if all codes are equally frequent, 1 if only one code is used."""
    share = counts / counts.sum()
    return torch.special.entr(share).sum().exp()
