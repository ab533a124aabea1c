"""Prepare OpenMMLab and register everything in it; `backbones` imports this as soon as mmengine is imported.

Modules are imported by name, without taking anything out of them: one whose own import triggered mmengine's is only
half initialised here, and registers itself when its import is done.
"""

import importlib

from backbones.openmmlab import prepare

# Before anything that might import mmdet or mmseg.
prepare()

REGISTERING = (
    'backbones.data.label_maps.dataset',
    'backbones.engine.bf16',
    'backbones.engine.compile_hook',
    'backbones.engine.ddp',
    'backbones.engine.fsdp',
    'backbones.engine.layer_decay',
    'backbones.engine.loader_watch',
    'backbones.engine.loops.epochs',
    'backbones.engine.loops.iterations',
    'backbones.engine.loss_log',
    'backbones.engine.prefetch',
    'backbones.engine.resume.saving',
    'backbones.engine.run_hooks',
    'backbones.engine.start_line',
    'backbones.openmmlab.models',
    'backbones.openmmlab.speedups.by_name',
)
for _name in REGISTERING:
    importlib.import_module(_name)
