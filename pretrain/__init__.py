"""Masked-image pretraining: images -> masks -> encoder -> decoder -> loss, registered in mmengine.

A config only needs ``custom_imports = dict(imports=['backbones', 'pretrain'])``.
"""

from pretrain.data.class_transforms import EvalTransform, TrainTransform
from pretrain.data.labelled import LabelledImages
from pretrain.data.randomness import seed_worker
from pretrain.data.shards import ShardedImages
from pretrain.data.unlabelled import UnlabelledImages, flatten_repeats
from pretrain.evaluation.accuracy import ClassAccuracy, LayerAccuracy
from pretrain.evaluation.classify import Classifier
from pretrain.evaluation.head import KeepHead
from pretrain.evaluation.linear import LayerProbes, LinearProbe
from pretrain.evaluation.online_probe import OnlineProbe
from pretrain.methods.beit import BEiTPretraining
from pretrain.methods.decoder import MAEDecoder
from pretrain.methods.denoise import DenoisingAutoencoder
from pretrain.methods.mae import MaskedAutoencoder
from pretrain.methods.simmim import SimMIM
from pretrain.methods.targets import TokenTarget
from pretrain.optimization.finetune import FinetuneOptim
from pretrain.optimization.lars import lars
from pretrain.optimization.pretrain import PretrainOptim
from pretrain.tokenizer.cache import CachedTokenImages
from pretrain.tokenizer.dvae import DiscreteVAE
from pretrain.tokenizer.hooks import AnnealTokenizer, SpreadCodes, WatchCodebook
from pretrain.tokenizer.training import TokenizerTraining

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
