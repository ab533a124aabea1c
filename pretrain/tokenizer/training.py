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

# Usage of the codes is told of about the last hundred batches: one alone holds fewer places than codes, maybe.
WINDOW = 100


@MODELS.register_module()
class TokenizerTraining(BaseModel):
    """Trains a `DiscreteVAE` on images in [0, 1].

    ``temperature`` and ``kl_weight`` are set by `pretrain.tokenizer.hooks.AnnealTokenizer`.

    Args:
        tokenizer: the `DiscreteVAE`, or its config.
        data_preprocessor: mmengine preprocessor that maps images to [0, 1] (``mean=[0] * 3, std=[255] * 3``), or its
            config.
        reconstruction: loss of the images drawn, a key of `RECONSTRUCTIONS`.

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
        # Tensors, so that compiled graphs need not be made anew for each value; not in checkpoints, as the hook
        # sets both from the iteration.
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
        """Scale the last layer of the encoder so that each code's logit has mean 0 and one deviation over images.

        At random weights the codes' mean logits differ more than the logits of one code over places, so that a few
        codes win everywhere and the others never learn (compare weight normalisation, arXiv 1602.07868, section 3).

        Args:
            inputs: (B, 3, h * s, w * s) in [0, 1]; each process brings its own, and all of them count.
            deviation: wanted of each logit over the B * h * w places.
        """
        assert self.tokenizer.encoder is not None
        last = self.tokenizer.encoder.blocks.get_submodule('output.conv')
        assert isinstance(last, Convolution)
        # (B, V, h, w) -> (V, B h w); float64, as the square of a mean is taken from a mean of squares.
        logits = self.tokenizer.logits(inputs).double().transpose(0, 1).flatten(1)
        sums = torch.stack(
            [logits.sum(dim=1), logits.square().sum(dim=1), torch.full_like(logits[:, 0], logits.shape[1])]
        )
        # Over the batches of all processes: their weights have to stay alike.
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
        # Per value of a pixel, as the reconstruction is: one code stands for 3 s^2 of them.
        loss = reconstruction + self.kl_weight * kl / (3 * tokenizer.stride**2)
        perplexity, used = self._count(logits.argmax(dim=1))
        shown = dict(reconstruction=reconstruction.detach(), kl=kl.detach(), perplexity=perplexity, codes_used=used)
        return dict(loss=loss, temperature=self.temperature.clone(), kl_weight=self.kl_weight.clone(), **shown)

    @torch.no_grad()
    def _count(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Perplexity and share of the codes used in the last batches of this process, without asking the device."""
        flat = ids.flatten()
        self.usage.mul_(1 - 1 / WINDOW).scatter_add_(0, flat, torch.ones_like(flat, dtype=self.usage.dtype))
        self.unseen.add_(1).scatter_(0, flat, 0)
        return perplexity(self.usage), (self.unseen < WINDOW).float().mean()


def relaxed_codes(logits: Tensor, temperature: Tensor) -> Tensor:
    """Draw nearly one-hot codes that gradients pass through (Gumbel-softmax, arXiv 1611.01144).

    Args:
        logits: (B, V, h, w).
        temperature: scalar; towards 0 the draws become one-hot.

    Returns:
        (B, V, h, w), summing to 1 over V.
    """
    gumbel = -torch.empty_like(logits).exponential_().log()
    return ((logits + gumbel) / temperature).softmax(dim=1)


def kl_to_uniform(logits: Tensor) -> Tensor:
    """KL divergence in nats of each place's distribution of codes from the uniform one, mean over the places.

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
        pixels: (B, 3, H, W), as `map_pixels` makes them.

    Returns:
        scalar: mean over all values, in nats.
    """
    location, log_scale = outputs.chunk(2, dim=1)
    distance = (torch.logit(pixels) - location).abs()
    return (distance * (-log_scale).exp() + log_scale + math.log(2) + (pixels * (1 - pixels)).log()).mean()


def l2_loss(outputs: Tensor, pixels: Tensor) -> Tensor:
    """Mean square error of the locations, brought to (0, 1); arguments as of `logit_laplace_loss`."""
    return F.mse_loss(outputs[:, :3].sigmoid(), pixels)


def l1_loss(outputs: Tensor, pixels: Tensor) -> Tensor:
    """Mean absolute error of the locations, brought to (0, 1); arguments as of `logit_laplace_loss`."""
    return F.l1_loss(outputs[:, :3].sigmoid(), pixels)


# Beside the likelihood, plain distances; under these the three scales have no use and stay as they are.
RECONSTRUCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    'logit_laplace': logit_laplace_loss,
    'l2': l2_loss,
    'l1': l1_loss,
}


def perplexity(counts: Tensor) -> Tensor:
    """Exponential of the entropy of counts (V,): V where all codes are as frequent, 1 where there is a single one."""
    share = counts / counts.sum()
    return torch.special.entr(share).sum().exp()
