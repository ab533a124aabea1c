"""Run a command line in several processes: check how they were started, and choose how they share the work."""

import os

import torch
from mmengine.config import Config, ConfigDict

from backbones.console.errors import UsageError

# Environment variables that each launcher sets, and its command.
STARTED_BY = {
    'pytorch': (('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'), 'torchrun --nproc_per_node N'),
    'slurm': (('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'), 'srun python'),
    'mpi': (('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK', 'MASTER_ADDR'), 'mpirun'),
}
# Models of the shipped configs that use the same parameters in every iteration.
STATIC = {
    *('MaskedAutoencoder', 'BEiTPretraining', 'SimMIM', 'DenoisingAutoencoder', 'TokenizerTraining'),
    *('Classifier', 'LinearProbe', 'LayerProbes', 'MaskRCNN', 'EncoderDecoder', 'FastEncoderDecoder'),
}
SIZE = {'pytorch': 'WORLD_SIZE', 'slurm': 'SLURM_NTASKS', 'mpi': 'OMPI_COMM_WORLD_SIZE'}
LOCAL_RANK = {'pytorch': 'LOCAL_RANK', 'slurm': 'SLURM_LOCALID', 'mpi': 'OMPI_COMM_WORLD_LOCAL_RANK'}


def check_launcher(launcher: str) -> None:
    """Refuse a launcher other than the one that started this process.

    Raises:
        UsageError: the message says which variables are absent, or what to add to the command line.
    """
    if launcher == 'none':
        if 'TORCHELASTIC_RUN_ID' in os.environ and os.environ.get('WORLD_SIZE') != '1':
            raise UsageError(
                'torchrun started several processes, each of which would train alone: add --launcher pytorch'
            )
        return
    variables, command = STARTED_BY[launcher]
    absent = [name for name in variables if name not in os.environ]
    if absent:
        raise UsageError(
            f'--launcher {launcher} needs {", ".join(absent)} in the environment: start with {command} '
            f'tools/train.py ... --launcher {launcher}'
        )
    _check_numbers(launcher)
    local, devices = int(os.environ.get(LOCAL_RANK[launcher], 0)), torch.cuda.device_count()
    if 0 < devices <= local:
        raise UsageError(
            f'process {local} of this machine sees {devices} GPUs, and none of its own: start as many processes as '
            'GPUs, and let each see them all (Slurm: --gpus-per-node, not --gpus-per-task)'
        )


def process_count(launcher: str) -> int:
    """Number of processes started together, known before they form a group."""
    return 1 if launcher == 'none' else int(os.environ[SIZE[launcher]])


def _check_numbers(launcher: str) -> None:
    """Refuse invalid ranks; with a rank beyond their number, the processes would wait for each other forever."""
    variables = STARTED_BY[launcher][0]
    counted = [*variables[:2], LOCAL_RANK[launcher]]  # rank and number of processes come first
    for name in counted:
        if not os.environ.get(name, '0').isdecimal():
            raise UsageError(f'{name}={os.environ[name]} in the environment is no number')
    rank, size = (int(os.environ[name]) for name in variables[:2])
    if rank >= max(size, 1):
        raise UsageError(f'{variables[0]}={rank} in the environment, but {variables[1]}={size}: ranks count from 0')


def set_wrapper(cfg: Config, sharded: bool = False) -> list[str]:
    """Choose how processes share a model; a ``model_wrapper_cfg`` of the config stays.

    Args:
        cfg: changed in place; ``launcher`` and ``optim_wrapper`` are already final.
        sharded: shard the model over the processes rather than copy it.

    Returns:
        a line that says what was set, if anything was.

    Raises:
        UsageError: ``sharded`` is set with a single process or with a ``model_wrapper_cfg``, or several processes would
            read the same images.
    """
    wrapper = cfg.get('model_wrapper_cfg')
    _check_sampler(cfg)
    if not sharded:
        if cfg.launcher == 'none' or wrapper is not None or cfg.get('find_unused_parameters'):
            return []
        if not has_static_graph(cfg.model):
            return ['each process has the whole model (MMDistributedDataParallel, as its graph may change)']
        cfg.model_wrapper_cfg = dict(type='StaticDDP')
        return ['each process has the whole model (StaticDDP)']
    if cfg.launcher == 'none':
        raise UsageError(
            f'--sharded spreads the model over several processes: start with {STARTED_BY["pytorch"][1]} '
            'tools/train.py ... --sharded --launcher pytorch'
        )
    if wrapper is not None:
        raise UsageError(f'--sharded sets model_wrapper_cfg, this config has {dict(wrapper)} already')
    dtype = 'bfloat16' if cfg.optim_wrapper.get('type') == 'BF16OptimWrapper' else None
    cfg.model_wrapper_cfg = dict(type='ShardedModel', param_dtype=dtype)
    return [f'the model is spread over the processes, weights gathered in {dtype or "float32"}']


def has_static_graph(model: ConfigDict) -> bool:
    """Whether a model surely uses the same parameters each time: in `STATIC`, with no backbone but a PlainViT."""
    parts = [model.get(name) for name in ('backbone', 'encoder') if model.get(name)]
    kinds = [str(part.get('type')).rpartition('.')[2] for part in parts]
    return str(model.get('type')).rpartition('.')[2] in STATIC and all(kind == 'PlainViT' for kind in kinds)


def _check_sampler(cfg: Config) -> None:
    loader = cfg.get('train_dataloader') or {}
    if cfg.launcher != 'none' and not loader.get('sampler') and not loader.get('batch_sampler'):
        raise UsageError(
            'train_dataloader.sampler is None: every process would read the same images, in one order. Leave it out '
            'of --cfg-options (shards need no other sampler than directories), or name one'
        )
