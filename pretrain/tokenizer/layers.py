"""The two halves of DALL-E's discrete VAE (arXiv 2102.12092, appendix A.1): images -> logits of codes -> images.

The layers carry the names of OpenAI's published weights. Letters: B batch, V codes, h, w grid of codes, s stride.
"""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Kernels of the four convolutions of a block's residual path.
ENCODER_KERNELS = (3, 3, 3, 1)
DECODER_KERNELS = (1, 3, 3, 3)


class Convolution(nn.Module):
    """Convolution that keeps height and width; its parameters are called ``w`` and ``b``.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: odd side of the kernel.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        deviation = 1 / math.sqrt(in_channels * kernel**2)
        self.w = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel) * deviation)
        self.b = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        return F.conv2d(x, self.w, self.b, padding=self.w.shape[-1] // 2)


class Block(nn.Module):
    """Residual block: four times ReLU and convolution at a quarter of the width, scaled down by ``gain``.

    Args:
        in_channels: channels of the input; if they differ from the output's, the shortcut is a 1x1 convolution.
        out_channels: channels of the output, a multiple of 4.
        kernels: sides of the four convolutions.
        gain: factor of the residual path, which keeps deep stacks stable at the start of training.
    """

    def __init__(self, in_channels: int, out_channels: int, kernels: tuple[int, ...], gain: float) -> None:
        super().__init__()
        self.gain = gain
        same = in_channels == out_channels
        self.id_path = nn.Identity() if same else Convolution(in_channels, out_channels, 1)
        widths = (in_channels, *(out_channels // 4,) * 3, out_channels)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, kernel in enumerate(kernels, start=1):
            layers[f'relu_{number}'] = nn.ReLU()
            layers[f'conv_{number}'] = Convolution(widths[number - 1], widths[number], kernel)
        self.res_path = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        return self.id_path(x) + self.gain * self.res_path(x)


class Encoder(nn.Module):
    """Images to logits: groups of blocks, each twice as wide as the one before, with max pooling in between.

    Args:
        vocab_size: codes V.
        hidden: channels of the first group.
        groups: groups of blocks; the stride is 2 ** (groups - 1).
        blocks: blocks per group.
    """

    def __init__(self, vocab_size: int, hidden: int, groups: int, blocks: int) -> None:
        super().__init__()
        widths = [hidden * 2**index for index in range(groups)]
        layers: OrderedDict[str, nn.Module] = OrderedDict(input=Convolution(3, hidden, 7))
        layers |= _groups([hidden, *widths], blocks, ENCODER_KERNELS, 'pool', nn.MaxPool2d(2))
        layers['output'] = _output(widths[-1], vocab_size)
        self.blocks = nn.Sequential(layers)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels from `map_pixels`, (B, 3, h * s, w * s) -> logits (B, V, h, w)."""
        return self.blocks(pixels)


class Decoder(nn.Module):
    """Codes to the parameters of each pixel's distribution: the encoder's groups in reverse, with upsampling.

    Args:
        vocab_size: codes V.
        hidden: channels of the last group.
        groups: groups of blocks; the stride is 2 ** (groups - 1).
        blocks: blocks per group.
        init: channels of a code's embedding.
    """

    def __init__(self, vocab_size: int, hidden: int, groups: int, blocks: int, init: int) -> None:
        super().__init__()
        widths = [hidden * 2**index for index in reversed(range(groups))]
        layers: OrderedDict[str, nn.Module] = OrderedDict(input=Convolution(vocab_size, init, 1))
        layers |= _groups([init, *widths], blocks, DECODER_KERNELS, 'upsample', nn.Upsample(scale_factor=2))
        layers['output'] = _output(hidden, 6)
        self.blocks = nn.Sequential(layers)

    def forward(self, codes: Tensor) -> Tensor:
        """Shares of the codes, (B, V, h, w), which sum to 1 over V -> (B, 6, h * s, w * s)."""
        return self.blocks(codes)

    def from_ids(self, ids: Tensor) -> Tensor:
        """Same result as `forward` for one code at each place, int64 (B, h, w), without one-hot vectors."""
        embedding = self.blocks.get_submodule('input')
        assert isinstance(embedding, Convolution)
        # (V, init) looked up -> (B, h, w, init) -> (B, init, h, w)
        looked_up = F.embedding(ids, embedding.w[:, :, 0, 0].t()) + embedding.b
        return self.blocks[1:](looked_up.permute(0, 3, 1, 2))


def _groups(
    widths: list[int], blocks: int, kernels: tuple[int, ...], between: str, layer: nn.Module
) -> OrderedDict[str, nn.Module]:
    """Groups of blocks with ``widths[1:]`` after an input of ``widths[0]``, and ``layer`` between the groups."""
    groups: OrderedDict[str, nn.Module] = OrderedDict()
    count = len(widths) - 1
    gain = 1 / (count * blocks) ** 2
    for number in range(1, count + 1):
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for index in range(blocks):
            before = widths[number - 1] if index == 0 else widths[number]
            layers[f'block_{index + 1}'] = Block(before, widths[number], kernels, gain)
        if number < count:
            layers[between] = layer
        groups[f'group_{number}'] = nn.Sequential(layers)
    return groups


def _output(channels: int, out_channels: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(relu=nn.ReLU(), conv=Convolution(channels, out_channels, 1))
    return nn.Sequential(layers)
