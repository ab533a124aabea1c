"""Masked-image pretraining: images -> masks -> encoder -> decoder -> loss, registered in mmengine.

``custom_imports = dict(imports=['backbones', 'pretrain'])`` in a config is all that is needed.
"""

from pretrain.beit import BEiT
from pretrain.data import UnlabelledImages
from pretrain.decoder import MAEDecoder
from pretrain.denoise import DenoisingAutoencoder
from pretrain.hooks import SeedEachEpoch, StopOnNonFinite
from pretrain.mae import MaskedAutoencoder
from pretrain.optim import PretrainOptim
from pretrain.simmim import SimMIM
from pretrain.targets import TokenTarget
from pretrain.tokenizer import DiscreteVAE

__all__ = [
    'BEiT',
    'DenoisingAutoencoder',
    'DiscreteVAE',
    'MAEDecoder',
    'MaskedAutoencoder',
    'PretrainOptim',
    'SeedEachEpoch',
    'SimMIM',
    'StopOnNonFinite',
    'TokenTarget',
    'UnlabelledImages',
]
