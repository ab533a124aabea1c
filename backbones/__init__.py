"""Plain ViT backbones, pyramids, layer-wise decay and the checkpoint door, registered in OpenMMLab.

One line in any mmdet or mmseg config is enough: ``custom_imports = dict(imports=['backbones'])``.
"""

from backbones.openmmlab import prepare

# Before anything that might import mmdet or mmseg.
prepare()

from backbones.checkpoint import PretrainedViT, Report, load_pretrained, read_checkpoint
from backbones.compile_hook import CompileParts
from backbones.distributed import StaticDDP
from backbones.evaluation import BF16TestLoop, BF16ValLoop
from backbones.exact_loop import SeedEachIteration, SeededIterLoop
from backbones.layer_decay import LayerWiseDecay
from backbones.loss_log import DeferredLossLog
from backbones.openmmlab import by_name  # noqa: F401  (registers)
from backbones.pace import WatchLoader
from backbones.prefetch import PrefetchToDevice
from backbones.pyramid import DeconvPyramid, LayerNorm2d, SimpleFeaturePyramid
from backbones.run_hooks import SeedEachEpoch, StopOnNonFinite
from backbones.saving import AtomicCheckpointHook, SaveOnSignal
from backbones.seg_dataset import SegmentationPairs
from backbones.sharding import ShardedModel
from backbones.skipping_loop import SkippingEpochLoop
from backbones.start_line import StartLine
from backbones.vit import VARIANTS, PlainViT

__all__ = [
    'VARIANTS',
    'AtomicCheckpointHook',
    'BF16TestLoop',
    'BF16ValLoop',
    'CompileParts',
    'DeconvPyramid',
    'DeferredLossLog',
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
    'load_pretrained',
    'read_checkpoint',
]
