"""Images as patch vectors, and the pixel targets made from them.

Letters: B batch, C channels, H, W grid in patches, L = H * W patches, p patch size. The values of a patch vector are
ordered row in the patch, column in the patch, channel, as in the published MAE weights.
"""

from torch import Tensor

# Keeps flat patches finite (He et al., arXiv 2111.06377, released code).
VARIANCE_EPS = 1e-6


def image_grid(images: Tensor, patch_size: int) -> tuple[int, int]:
    """Grid (H, W) of images (B, C, H * p, W * p).

    Raises:
        ValueError: a side is not a multiple of the patch.
    """
    height, width = images.shape[-2:]
    if height % patch_size or width % patch_size:
        raise ValueError(
            f'pretraining needs images of whole patches: {height}x{width} is not a multiple of {patch_size}, '
            'change crop_size or patch_size'
        )
    return height // patch_size, width // patch_size


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images (B, C, H * p, W * p) into patch vectors (B, L, p * p * C).

    Raises:
        ValueError: see `image_grid`.
    """
    batch, channels = images.shape[:2]
    height, width = image_grid(images, patch_size)
    # (B, C, H p, W p) -> (B, C, H, p, W, p) -> (B, H, W, p, p, C) -> (B, L, p p C)
    pieces = images.reshape(batch, channels, height, patch_size, width, patch_size)
    return pieces.permute(0, 2, 4, 3, 5, 1).reshape(batch, height * width, -1)


def unpatchify(patches: Tensor, grid: tuple[int, int], patch_size: int) -> Tensor:
    """Join patch vectors (B, L, p * p * C) of a grid (H, W) into images (B, C, H * p, W * p)."""
    batch = patches.shape[0]
    height, width = grid
    # (B, L, p p C) -> (B, H, W, p, p, C) -> (B, C, H, p, W, p) -> (B, C, H p, W p)
    pieces = patches.reshape(batch, height, width, patch_size, patch_size, -1)
    return pieces.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, height * patch_size, width * patch_size)


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch vector, over its p * p * C values.

    Args:
        patches: (B, L, p * p * C).

    Returns:
        mean and deviation, (B, L, 1) each; the variance is the unbiased one plus `VARIANCE_EPS`.
    """
    mean = patches.mean(dim=-1, keepdim=True)
    return mean, (patches.var(dim=-1, keepdim=True) + VARIANCE_EPS).sqrt()


def normalise_patches(patches: Tensor) -> Tensor:
    """Bring each patch vector of (B, L, p * p * C) to mean 0 and deviation 1: MAE's better target."""
    mean, deviation = patch_statistics(patches)
    return (patches - mean) / deviation
