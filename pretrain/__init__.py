"""Masked-image pretraining: images -> masks -> encoder -> decoder -> loss, registered in mmengine.

``custom_imports = dict(imports=['backbones', 'pretrain'])`` in a config is all that is needed.
"""

from pretrain.data import UnlabelledImages
from pretrain.decoder import MAEDecoder
from pretrain.hooks import SeedEachEpoch, StopOnNonFinite
from pretrain.mae import MaskedAutoencoder
from pretrain.optim import PretrainOptim
from pretrain.tokenizer import DiscreteVAE

__all__ = [
    'DiscreteVAE',
    'MAEDecoder',
    'MaskedAutoencoder',
    'PretrainOptim',
    'SeedEachEpoch',
    'StopOnNonFinite',
    'UnlabelledImages',
]
