"""Draw images and their reconstruction from token ids: original | reconstruction.

Letters: N images, V codes, s stride.
"""

import os
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from pretrain.pictures.restored import GAP, fit_image, strip
from pretrain.tokenizer.dvae import DiscreteVAE
from pretrain.tokenizer.training import perplexity

# Number of pairs of original and reconstruction in a row.
PAIRS = 4


def picture(tokenizer: DiscreteVAE, paths: Sequence[str | os.PathLike[str]], size: int = 112) -> tuple[np.ndarray, str]:
    """Draw one pair per image file, up to four pairs in a row, with a line about the codes below.

    Args:
        tokenizer: see `pretrain.tokenizer.dvae.load_tokenizer`.
        paths: image files; the middle of each is shown.
        size: side of the images in pixels.

    Returns:
        uint8 RGB (height, width, 3), and the line.

    Raises:
        ValueError: a file cannot be read, ``size`` is not made of whole codes, or the tokenizer has only one half.
    """
    images = torch.stack([fit_image(path, (size, size)) for path in paths])
    ids = torch.cat([tokenizer.encode(image[None] / 255) for image in images])
    drawn = torch.cat([tokenizer.decode(each[None]) for each in ids])
    line = describe_usage(ids.flatten(), tokenizer.vocab_size)
    error = (drawn - images / 255).abs().mean()
    line += f'Mean absolute error {float(error) * 255:.1f} of 255.'
    # (N, 3, size, size) twice -> (N, 3, size, 2 size), padded by the gap -> (N, height, width, 3)
    tiles = torch.cat([images, (drawn * 255).round().to(torch.uint8)], dim=3)
    pairs = list(F.pad(tiles, (0, GAP, 0, GAP), value=255).permute(0, 2, 3, 1).numpy())
    rows = [np.concatenate(pairs[start : start + PAIRS], axis=1) for start in range(0, len(pairs), PAIRS)]
    width = rows[0].shape[1]
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    heading = f'original | from its {ids[0].numel()} token ids'
    return np.concatenate([strip(heading, width), *rows, strip(line, width)]), line


def describe_usage(ids: torch.Tensor, vocab_size: int) -> str:
    """Say how many of the codes appear in ids (any shape), and how evenly."""
    counts = torch.bincount(ids.flatten(), minlength=vocab_size)
    used = int((counts > 0).sum())
    return (
        f'{used} of {vocab_size} codes used ({used / vocab_size:.0%}) in {ids.numel()} places, '
        f'perplexity {float(perplexity(counts)):.0f}. '
    )
