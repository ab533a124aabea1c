"""MAE's published autoencoders, decoder included, as our own model.

The files hold only weights. What the shapes do not show is taken from the paper (arXiv 2111.06377).
"""

from pathlib import Path

from mmengine.model import ImgDataPreprocessor
from torch import Tensor

from backbones.checkpoint.load import read_checkpoint
from backbones.vit import PlainViT
from backbones.vit.variants import VARIANTS
from pretrain.methods.mae import MaskedAutoencoder
from pretrain.methods.restore import find_weights

DECODER_HEADS = 16
# ImageNet's mean and deviation, which the published models were trained with.
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def load_published(path: str | Path, norm_pix: bool) -> MaskedAutoencoder:
    """Build the model of a ``mae_visualize_vit_*.pth`` or ``mae_pretrain_vit_*_full.pth``.

    Args:
        path: the file.
        norm_pix: whether the model predicts normalised pixels, as the ``_full`` files do; ``mae_visualize`` does not.

    Returns:
        the model in evaluation mode, with the paper's mask ratio.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no published autoencoder, or its model has no published size.
    """
    weights = find_weights(read_checkpoint(path))
    if 'decoder_pred.weight' not in weights:
        raise ValueError(
            f'{path} is no published MAE with its decoder (no decoder_pred.weight). The checkpoint of an own run '
            'tells its target itself: leave --target out'
        )
    patch = weights['patch_embed.proj.weight'].shape[-1]
    side = round((weights['pos_embed'].shape[1] - 1) ** 0.5)
    model = MaskedAutoencoder(
        PlainViT(_variant(weights), img_size=side * patch, patch_size=patch, out_norm=True),
        decoder=dict(
            embed_dim=len(weights['decoder_embed.weight']),
            depth=_depth(weights, 'decoder_blocks.'),
            num_heads=DECODER_HEADS,
        ),
        norm_pix=norm_pix,
        data_preprocessor=ImgDataPreprocessor(mean=MEAN, std=STD),
    )
    try:
        model.load_state_dict({_our_name(name): value for name, value in weights.items()}, strict=True)
    except RuntimeError as error:
        raise ValueError(f'{path} does not fit the architecture of the published MAE: {error}') from error
    return model.eval()


def _variant(weights: dict[str, Tensor]) -> str:
    """Name of the published size, which gives the number of heads: the shapes do not show it."""
    width, depth = weights['cls_token'].shape[-1], _depth(weights, 'blocks.')
    for name, sizes in VARIANTS.items():
        if (sizes['embed_dim'], sizes['depth']) == (width, depth):
            return name
    raise ValueError(f'no published ViT has width {width} and {depth} blocks: the number of heads is unknown')


def _depth(weights: dict[str, Tensor], prefix: str) -> int:
    return len([name for name in weights if name.startswith(prefix) and name.endswith('.norm1.weight')])


def _our_name(name: str) -> str:
    if name == 'mask_token':
        return 'decoder.mask_token'
    return name.replace('decoder_', 'decoder.', 1) if name.startswith('decoder_') else f'encoder.{name}'
