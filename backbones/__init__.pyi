from .checkpoint import Report, inspect_checkpoint, load_pretrained, read_checkpoint, write_encoder
from .data.label_maps.dataset import SegmentationPairs
from .engine.bf16 import BF16OptimWrapper, BF16TestLoop, BF16ValLoop
from .engine.compile_hook import CompileParts
from .engine.ddp import StaticDDP
from .engine.fsdp import ShardedModel
from .engine.layer_decay import LayerWiseDecay
from .engine.loader_watch import WatchLoader
from .engine.loops.epochs import SkippingEpochLoop
from .engine.loops.iterations import SeedEachIteration, SeededIterLoop
from .engine.loss_log import DeferredLossLog
from .engine.prefetch import PrefetchToDevice
from .engine.resume.saving import AtomicCheckpointHook, SaveOnSignal
from .engine.run_hooks import SeedEachEpoch, StopOnNonFinite
from .engine.start_line import StartLine
from .feature_list import FeatureList
from .layer_decay import DecayRule, decay_table, param_groups
from .openmmlab import prepare
from .openmmlab.models import DeconvPyramid, PlainViT, PretrainedViT, SimpleFeaturePyramid
from .pyramid import LayerNorm2d
from .vit import VARIANTS

__all__ = [
    'VARIANTS',
    'AtomicCheckpointHook',
    'BF16OptimWrapper',
    'BF16TestLoop',
    'BF16ValLoop',
    'CompileParts',
    'DecayRule',
    'DeconvPyramid',
    'DeferredLossLog',
    'FeatureList',
    'LayerNorm2d',
    'LayerWiseDecay',
    'PlainViT',
    'PrefetchToDevice',
    'PretrainedViT',
    'Report',
    'SaveOnSignal',
    'SeedEachEpoch',
    'SeedEachIteration',
    'SeededIterLoop',
    'SegmentationPairs',
    'ShardedModel',
    'SimpleFeaturePyramid',
    'SkippingEpochLoop',
    'StartLine',
    'StaticDDP',
    'StopOnNonFinite',
    'WatchLoader',
    'decay_table',
    'inspect_checkpoint',
    'load_pretrained',
    'param_groups',
    'prepare',
    'read_checkpoint',
    'write_encoder',
]
