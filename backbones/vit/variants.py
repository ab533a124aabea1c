"""Sizes of the published plain ViTs, and checks of the sizes a user gives."""

from typing import TypeAlias

Size: TypeAlias = int | tuple[int, int]

# Widths, depths and heads of ViT (arXiv 2010.11929) and DeiT (arXiv 2012.12877, tiny and small).
VARIANTS: dict[str, dict[str, int]] = {
    'tiny': dict(embed_dim=192, depth=12, num_heads=3),
    'small': dict(embed_dim=384, depth=12, num_heads=6),
    'base': dict(embed_dim=768, depth=12, num_heads=12),
    'large': dict(embed_dim=1024, depth=24, num_heads=16),
    'huge': dict(embed_dim=1280, depth=32, num_heads=16),
}


def variant_sizes(variant: str | dict[str, int]) -> tuple[int, int, int]:
    """Look up (embed_dim, depth, num_heads) by a variant's name, or check a dict of them.

    Raises:
        ValueError: the name is unknown, or the dict's keys are not exactly these three.
    """
    keys = ('embed_dim', 'depth', 'num_heads')
    if isinstance(variant, str):
        if variant not in VARIANTS:
            raise ValueError(f'variant={variant!r} is unknown: use one of {", ".join(VARIANTS)}, or a dict of {keys}')
        variant = VARIANTS[variant]
    if set(variant) != set(keys):
        raise ValueError(f'variant as a dict has exactly the keys {keys}, not {tuple(variant)}')
    return variant['embed_dim'], variant['depth'], variant['num_heads']


def patch_grid(img_size: Size, patch_size: int) -> tuple[int, int]:
    """Number of patches (H, W) that cover an image of ``img_size`` pixels, the last ones padded.

    Raises:
        ValueError: ``img_size`` or ``patch_size`` is not above 0.
    """
    height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    if min(height, width, patch_size) < 1:
        raise ValueError(f'img_size={img_size} and patch_size={patch_size}: both have to be above 0')
    return -(-height // patch_size), -(-width // patch_size)


def block_index(index: int, depth: int, argument: str) -> int:
    """Count a negative block index from the end.

    Raises:
        ValueError: the model has no such block.
    """
    if not -depth <= index < depth:
        raise ValueError(f'{argument} names block {index}, but the model has {depth} blocks')
    return index % depth
