"""Sizes and constructor arguments of the PlainViT that fits a file."""

from dataclasses import dataclass, field
from typing import Any

from backbones.checkpoint.beit import SHARED_TABLE, options_of
from backbones.checkpoint.positions import grid_of
from backbones.checkpoint.recognise import EncoderFile
from backbones.checkpoint.resize import table_side
from backbones.checkpoint.told import depth_of
from backbones.checkpoint.windows import GLOBAL, WINDOW, Grid, block_kinds, reaches
from backbones.vit.positions import block_windows
from backbones.vit.variants import VARIANTS, patch_grid, variant_sizes


@dataclass(frozen=True)
class Architecture:
    """What the shapes in a file tell about the model."""

    embed_dim: int
    depth: int
    patch_size: int
    in_channels: int

    def __str__(self) -> str:
        return (
            f'variant {self.variant or "custom"} (embed_dim {self.embed_dim}, depth {self.depth}), '
            f'patch_size {self.patch_size}, in_channels {self.in_channels}'
        )

    @property
    def variant(self) -> str | None:
        """Name of the variant with this width and depth, if there is one."""
        sizes = {(v['embed_dim'], v['depth']): name for name, v in VARIANTS.items()}
        return sizes.get((self.embed_dim, self.depth))


def architecture(file: EncoderFile) -> Architecture:
    """Read an encoder's sizes from its tensor shapes."""
    embed_dim, in_channels, patch_size, _ = file.tensors['patch_embed.proj.weight'].shape
    return Architecture(embed_dim, depth_of(file.tensors), patch_size, in_channels)


def told_grid(file: EncoderFile) -> Grid | None:
    """Grid (H, W) of the positions if the file tells it: by SAM's axes, or by the config of one of our runs."""
    shape = file.shapes.get('pos_embed', ())
    if len(shape) == 4:
        return shape[1], shape[2]
    options = file.told.options
    size = options.get('pretrain_img_size') or options.get('img_size')
    return patch_grid(size, architecture(file).patch_size) if size else None


def position_grid(file: EncoderFile) -> Grid | None:
    """Grid (H, W) of the positions; None if there are no positions or nothing tells their grid."""
    table = file.tensors.get('pos_embed')
    return grid_of(table, known=told_grid(file)) if table is not None and table.ndim == 3 else None


def file_kinds(file: EncoderFile) -> dict[int, str]:
    """Blocks known to attend in windows or globally, from the config of one of our runs or from the tables."""
    depth, options = depth_of(file.tensors), file.told.options
    if 'window_size' in options:
        windows = block_windows(options['window_size'], options.get('global_blocks', ()), depth)
        return {index: WINDOW if window else GLOBAL for index, window in enumerate(windows)}
    return block_kinds(file.tensors, depth, position_grid(file))


@dataclass(frozen=True)
class ModelOptions:
    """Arguments of `PlainViT` for a file.

    Attributes:
        known: arguments that the file tells and that differ from the defaults, variant and img_size among them.
        untold: names of needed arguments that the file does not tell.
    """

    known: dict[str, Any]
    untold: list[str] = field(default_factory=list)


def model_options(file: EncoderFile) -> ModelOptions:
    """Work out the arguments of the PlainViT that fits a file, without those that matter for training only."""
    sizes, kinds, tables = architecture(file), file_kinds(file), reaches(file.tensors)
    known, untold = _sizes(file, sizes)
    grid = position_grid(file)
    images = [tables[index] for index in tables if kinds.get(index) != WINDOW]
    shared = table_side(len(file.tensors[SHARED_TABLE])) if SHARED_TABLE in file.tensors else None
    image = max(images, default=(shared, shared) if shared else grid)
    if image:
        known['img_size'] = _pixels(image, sizes.patch_size)
    else:
        untold.append('img_size')
    if grid and image != grid:
        known['pretrain_img_size'] = _pixels(grid, sizes.patch_size)
    known |= _windows(file, kinds, tables)
    if 'window_size' not in known and (WINDOW in kinds.values() or not _has_class_token(file)):
        untold.append('window_size')
    if {WINDOW, GLOBAL} <= set(kinds.values()):
        known['global_blocks'] = tuple(index for index, kind in sorted(kinds.items()) if kind == GLOBAL)
    known['patch_size'] = sizes.patch_size
    if sizes.in_channels != 3:
        known['in_channels'] = sizes.in_channels
    known |= options_of(file.tensors)
    if len(tables) < sizes.depth and known.get('rel_pos') == 'decomposed':
        known['rel_pos'] = 'decomposed_global'
    if 'global_pos_embed' in file.tensors:
        known['window_abs_pos'] = True
    if 'norm.weight' in file.tensors:
        known['out_norm'] = True
    return ModelOptions(known, untold)


def heads_of(file: EncoderFile) -> int | None:
    """Number of heads by the file, else by the variant with its sizes; None if no variant has them."""
    variant = architecture(file).variant
    return file.told.heads or (VARIANTS[variant]['num_heads'] if variant else None)


def _sizes(file: EncoderFile, sizes: Architecture) -> tuple[dict[str, Any], list[str]]:
    heads = heads_of(file)
    if sizes.variant and heads == variant_sizes(sizes.variant)[2]:
        return {'variant': sizes.variant}, []
    variant: dict[str, Any] = dict(embed_dim=sizes.embed_dim, depth=sizes.depth)
    if heads:
        variant['num_heads'] = heads
    return {'variant': variant}, [] if heads else ['num_heads']


def _windows(file: EncoderFile, kinds: dict[int, str], tables: dict[int, Grid]) -> dict[str, Any]:
    told = file.told.options.get('window_size')
    if told:
        return {'window_size': told}
    windows = [tables[index][0] for index in tables if kinds.get(index) == WINDOW]
    return {'window_size': windows[0]} if windows else {}


def _has_class_token(file: EncoderFile) -> bool:
    """Whether the file has a class token, or lacks one only because of its decomposed relative positions."""
    return 'cls_token' in file.tensors or bool(options_of(file.tensors).get('rel_pos') == 'decomposed')


def _pixels(grid: Grid, patch_size: int) -> int | tuple[int, int]:
    """Image size in pixels of a grid of patches, as one side if it is square."""
    height, width = grid[0] * patch_size, grid[1] * patch_size
    return height if height == width else (height, width)
