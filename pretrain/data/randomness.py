"""Where random numbers come from: a step's from seed, rank and iteration, a data worker's from PyTorch's own seed."""

import os

import cv2
import torch
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from mmengine.registry import FUNCTIONS
from torch.utils.data import get_worker_info

from backbones.engine.randomness import seed_all

# The step that was seeded last, of this process.
_last_step: list[tuple[str, int]] = []


def seed_step() -> None:
    """Seed what a training step draws (masks, noise, dropped paths, mixing) by the run's seed, the rank and the step.

    So processes draw different numbers, and a resumed run those of an uninterrupted one, whatever hooks a config has.
    Models call it where their loss begins; outside of a Runner's training the generators stay as they are.
    """
    if torch.compiler.is_compiling():  # in a graph, which holds no seeds; `CompileParts` leaves this outside
        return
    hub = MessageHub.get_current_instance()
    seed, step = hub.get_info('seed'), hub.get_info('iter')
    if hub.get_info('loop_stage') != 'train' or seed is None or step is None:
        return
    # Once in a step: what it computes in several parts goes on drawing.
    if [(hub.instance_name, step)] != _last_step:
        _last_step[:] = [(hub.instance_name, step)]
        seed_all(seed, get_rank(), step)


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Start a data worker: ``train_dataloader.worker_init_fn=dict(type='seed_worker')``.

    PyTorch draws each worker's seed anew in each epoch; mmengine's own function sets the same seed every time, so that
    all epochs would see the same crops. The rank counts too: all processes may have drawn one seed.
    """
    worker = get_worker_info()
    assert worker is not None
    cv2.setNumThreads(0)
    # A process that was started afresh is in no group; launchers leave the rank in the environment.
    seed_all(worker.seed, int(os.environ.get('RANK', 0)))
