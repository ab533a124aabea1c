"""Plain ViT backbones, pyramids, layer-wise decay and the checkpoint door, registered in OpenMMLab.

One line in any mmdet or mmseg config is enough: ``custom_imports = dict(imports=['backbones'])``.
"""

from backbones.openmmlab import prepare

# Before anything that might import mmdet or mmseg.
prepare()

from backbones.checkpoint.load import PretrainedViT, Report, load_pretrained, read_checkpoint
from backbones.data.label_maps.dataset import SegmentationPairs
from backbones.engine.bf16 import BF16TestLoop, BF16ValLoop
from backbones.engine.compile_hook import CompileParts
from backbones.engine.ddp import StaticDDP
from backbones.engine.fsdp import ShardedModel
from backbones.engine.loader_watch import WatchLoader
from backbones.engine.loops.epochs import SkippingEpochLoop
from backbones.engine.loops.iterations import SeedEachIteration, SeededIterLoop
from backbones.engine.loss_log import DeferredLossLog
from backbones.engine.prefetch import PrefetchToDevice
from backbones.engine.resume.saving import AtomicCheckpointHook, SaveOnSignal
from backbones.engine.run_hooks import SeedEachEpoch, StopOnNonFinite
from backbones.engine.start_line import StartLine
from backbones.layer_decay import LayerWiseDecay
from backbones.openmmlab.speedups import by_name  # noqa: F401  (registers)
from backbones.pyramid import DeconvPyramid, LayerNorm2d, SimpleFeaturePyramid
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
