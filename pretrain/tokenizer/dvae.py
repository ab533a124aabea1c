"""Image tokenizer: the discrete VAE of DALL-E (arXiv 2102.12092), which gives BEiT its targets.

Letters: B batch, V codes, h, w grid of codes, s stride.
"""

import hashlib
import re
from pathlib import Path

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from backbones.checkpoint.module_pickles import read_modules
from backbones.checkpoint.read import read_checkpoint
from pretrain.tokenizer.layers import Decoder, Encoder

# Keeps the logit of a pixel finite: pixels lie in [eps, 1 - eps] (arXiv 2102.12092, appendix A.3).
LOGIT_LAPLACE_EPS = 0.1


def map_pixels(images: Tensor) -> Tensor:
    """Map images from [0, 1] to [0.1, 0.9], the range used for the logit-Laplace distribution."""
    return (1 - 2 * LOGIT_LAPLACE_EPS) * images + LOGIT_LAPLACE_EPS


def unmap_pixels(pixels: Tensor) -> Tensor:
    """Undo `map_pixels`; values outside its range are clipped to [0, 1]."""
    return ((pixels - LOGIT_LAPLACE_EPS) / (1 - 2 * LOGIT_LAPLACE_EPS)).clamp(0, 1)


@MODELS.register_module()
class DiscreteVAE(nn.Module):
    """Maps images to a grid of code numbers and back.

    The defaults are those of OpenAI's published weights, which `load_tokenizer` reads.

    Args:
        vocab_size: codes V.
        hidden: channels of the widest-resolution group, a multiple of 4.
        groups: groups of blocks in each half; the stride is 2 ** (groups - 1).
        blocks: blocks per group.
        decoder_init: channels of a code's embedding.

    Raises:
        ValueError: a size gives no valid network.
    """

    def __init__(
        self, vocab_size: int = 8192, hidden: int = 256, groups: int = 4, blocks: int = 2, decoder_init: int = 128
    ) -> None:
        super().__init__()
        if vocab_size < 2 or hidden < 4 or hidden % 4 or groups < 1 or blocks < 1 or decoder_init < 1:
            raise ValueError(
                f'no tokenizer of vocab_size={vocab_size}, hidden={hidden}, groups={groups}, blocks={blocks}, '
                f'decoder_init={decoder_init}: it needs 2 codes or more, hidden a multiple of 4, the others 1 or more'
            )
        self.vocab_size = vocab_size
        self.stride = 2 ** (groups - 1)
        self.encoder: Encoder | None = Encoder(vocab_size, hidden, groups, blocks)
        self.decoder: Decoder | None = Decoder(vocab_size, hidden, groups, blocks, decoder_init)
        # Both run almost twice as fast with channels last in memory.
        self.to(memory_format=torch.channels_last)

    def logits(self, images: Tensor) -> Tensor:
        """Score every code at every place.

        Args:
            images: (B, 3, h * s, w * s) in [0, 1].

        Returns:
            (B, V, h, w).

        Raises:
            ValueError: a side is not a multiple of the stride, or there is no encoder.
        """
        height, width = images.shape[-2:]
        if height % self.stride or width % self.stride:
            raise ValueError(
                f'the tokenizer makes one code of {self.stride}x{self.stride} pixels, and {height}x{width} is no '
                'multiple of that: change the size of its images (token_size)'
            )
        if self.encoder is None:
            raise ValueError('this tokenizer was loaded without an encoder: give encoder.pkl too')
        return self.encoder(map_pixels(images))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Find the likeliest code at every place, in float32 even under autocast, which would change some codes.

        Args:
            images: float (B, 3, h * s, w * s) in [0, 1].

        Returns:
            int64 (B, h, w).

        Raises:
            ValueError: see `logits`.
        """
        with torch.autocast(images.device.type, enabled=False):
            return self.logits(images.float()).argmax(dim=1)

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor:
        """Draw the images that belong to codes, using the median of each pixel's distribution.

        Args:
            ids: int64 (B, h, w).

        Returns:
            (B, 3, h * s, w * s) in [0, 1].

        Raises:
            ValueError: there is no decoder.
        """
        if self.decoder is None:
            raise ValueError(
                'this tokenizer has no decoder, so it cannot draw: its file holds the encoder alone. '
                'Give a directory with encoder.pkl and decoder.pkl, or the checkpoint of an own training'
            )
        with torch.autocast(ids.device.type, enabled=False):
            # Three channels of locations, three of scales.
            return unmap_pixels(self.decoder.from_ids(ids)[:, :3].sigmoid())

    def fingerprint(self) -> str:
        """Hash the encoder's weights by name, as they determine the ids. The hash is equal in every file format."""
        digest = hashlib.sha256()
        for name, value in ({} if self.encoder is None else self.encoder.state_dict()).items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def load_tokenizer(path: str | Path) -> DiscreteVAE:
    """Build a tokenizer with the sizes of its weights, ready to use: in evaluation mode and frozen.

    Args:
        path: checkpoint of `pretrain.tokenizer.training.TokenizerTraining`; OpenAI's ``encoder.pkl`` or
            ``decoder.pkl``, or a directory with both; or a state dict of any of these, such as OpenMMLab's
            ``dalle_encoder.pth``. No code in the files is run.

    Returns:
        the tokenizer; if the file has only one half, the other half is None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, or holds no such tokenizer.
    """
    encoder, decoder = _find_halves(_read_weights(Path(path)))
    if not encoder and not decoder:
        raise ValueError(
            f"{path} holds no tokenizer (no blocks.input.w): give OpenAI's encoder.pkl or the epoch_N.pth of a "
            'training with pretrain/configs/tokenizer_*.py'
        )
    try:
        tokenizer = DiscreteVAE(**_sizes(encoder, decoder))
        for name, weights in (('encoder', encoder), ('decoder', decoder)):
            if weights:
                getattr(tokenizer, name).load_state_dict(weights)
            else:
                setattr(tokenizer, name, None)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f'{path} is not of the architecture of DiscreteVAE: {error}') from error
    return tokenizer.requires_grad_(False).eval()


def _read_weights(path: Path) -> dict[str, Tensor]:
    if path.is_dir():
        files = [path / name for name in ('encoder.pkl', 'decoder.pkl') if (path / name).is_file()]
        if not files:
            raise FileNotFoundError(f'there is no encoder.pkl or decoder.pkl in {path}')
        return {f'{file.stem}.{name}': value for file in files for name, value in read_modules(file).items()}
    if path.suffix == '.pkl':
        return read_modules(path)
    content = read_checkpoint(path)
    return content.get('state_dict', content.get('model', content))


def _find_halves(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Sort ``PREFIX.blocks.*`` into encoder and decoder by their first kernel, 7x7 or 1x1; skip the rest."""
    halves: tuple[dict[str, Tensor], dict[str, Tensor]] = {}, {}
    for first in [name for name in weights if re.search(r'(^|\.)blocks\.input\.w$', name)]:
        prefix = first.removesuffix('blocks.input.w')
        half = halves[0] if weights[first].shape[-1] == 7 else halves[1]
        half.update(
            {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix + 'blocks.')}
        )
    return halves


def _sizes(encoder: dict[str, Tensor], decoder: dict[str, Tensor]) -> dict[str, int]:
    """Arguments of `DiscreteVAE`, read from the shapes of whichever halves are given."""
    names = [re.match(r'blocks\.group_(\d+)\.block_(\d+)\.', name) for name in (encoder or decoder)]
    numbers = [(int(found[1]), int(found[2])) for found in names if found]
    sizes = dict(groups=max(group for group, _ in numbers), blocks=max(block for _, block in numbers))
    if encoder:
        sizes.update(vocab_size=len(encoder['blocks.output.conv.w']), hidden=len(encoder['blocks.input.w']))
    if decoder:
        first = decoder['blocks.input.w']
        sizes.update(vocab_size=first.shape[1], decoder_init=len(first))
        sizes.update(hidden=decoder['blocks.output.conv.w'].shape[1])
    return sizes
