"""The plain ViT and its parts; they import only PyTorch and `timm.layers`, never mmengine."""

from backbones.vit.plain_vit import VARIANTS, PlainViT
from backbones.vit.positions import Positions

__all__ = ['VARIANTS', 'PlainViT', 'Positions']
