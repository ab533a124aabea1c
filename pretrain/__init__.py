"""Masked-image pretraining: images -> masks -> encoder -> decoder -> loss, registered in mmengine.

``custom_imports = dict(imports=['backbones', 'pretrain'])`` in a config is all that is needed.
"""

from pretrain.accuracy import ClassAccuracy, LayerAccuracy
from pretrain.beit import BEiTPretraining
from pretrain.class_transforms import EvalTransform, TrainTransform
from pretrain.classify import Classifier
from pretrain.data import UnlabelledImages, flatten_repeats
from pretrain.decoder import MAEDecoder
from pretrain.denoise import DenoisingAutoencoder
from pretrain.finetune_optim import FinetuneOptim
from pretrain.head import KeepHead
from pretrain.labelled import LabelledImages
from pretrain.lars import lars
from pretrain.linear import LayerProbes, LinearProbe
from pretrain.mae import MaskedAutoencoder
from pretrain.online_probe import OnlineProbe
from pretrain.optim import PretrainOptim
from pretrain.randomness import seed_worker
from pretrain.shards import ShardedImages
from pretrain.simmim import SimMIM
from pretrain.targets import TokenTarget
from pretrain.token_cache import CachedTokenImages
from pretrain.tokenizer import DiscreteVAE
from pretrain.tokenizer_hooks import AnnealTokenizer, SpreadCodes, WatchCodebook
from pretrain.tokenizer_training import TokenizerTraining

__all__ = [
    'AnnealTokenizer',
    'BEiTPretraining',
    'CachedTokenImages',
    'ClassAccuracy',
    'Classifier',
    'DenoisingAutoencoder',
    'DiscreteVAE',
    'EvalTransform',
    'FinetuneOptim',
    'KeepHead',
    'LabelledImages',
    'LayerAccuracy',
    'LayerProbes',
    'LinearProbe',
    'MAEDecoder',
    'MaskedAutoencoder',
    'OnlineProbe',
    'PretrainOptim',
    'ShardedImages',
    'SimMIM',
    'SpreadCodes',
    'TokenTarget',
    'TokenizerTraining',
    'TrainTransform',
    'UnlabelledImages',
    'WatchCodebook',
    'flatten_repeats',
    'lars',
    'seed_worker',
]
