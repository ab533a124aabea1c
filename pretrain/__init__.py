"""Masked-image pretraining: images -> masks -> encoder -> decoder -> loss, registered in mmengine.

``custom_imports = dict(imports=['backbones', 'pretrain'])`` in a config is all that is needed.
"""

from pretrain.data import UnlabelledImages
from pretrain.decoder import MAEDecoder
from pretrain.hooks import SeedEachEpoch, StopOnNonFinite
from pretrain.mae import MaskedAutoencoder
from pretrain.optim import PretrainOptim

__all__ = [
    'MAEDecoder',
    'MaskedAutoencoder',
    'PretrainOptim',
    'SeedEachEpoch',
    'StopOnNonFinite',
    'UnlabelledImages',
]
