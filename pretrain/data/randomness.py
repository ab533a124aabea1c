"""Random seeds: a step is seeded from seed, rank and iteration, a data worker from PyTorch's own seed."""

import os

import cv2
import torch
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from mmengine.registry import FUNCTIONS
from torch.utils.data import get_worker_info

from backbones.engine.randomness import seed_all

# The step that this process seeded last.
_last_step: list[tuple[str, int]] = []


def seed_step() -> None:
    """Seed the draws of a training step (masks, noise, dropped paths, mixing) by the run's seed, the rank and the step.

    So processes draw different numbers, and a resumed run draws the same ones as an uninterrupted run, whatever hooks a
    config has. Models call this at the start of their loss. Outside a Runner's training the generators do not change.
    """
    if torch.compiler.is_compiling():  # a graph holds no seeds; `CompileParts` leaves this call outside the graph
        return
    hub = MessageHub.get_current_instance()
    seed, step = hub.get_info('seed'), hub.get_info('iter')
    if hub.get_info('loop_stage') != 'train' or seed is None or step is None:
        return
    # Seed only once in a step: if the step computes several parts, the later parts continue the sequence.
    if [(hub.instance_name, step)] != _last_step:
        _last_step[:] = [(hub.instance_name, step)]
        seed_all(seed, get_rank(), step)


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Start a data worker: ``train_dataloader.worker_init_fn=dict(type='seed_worker')``.

    PyTorch draws a new seed for each worker in each epoch. mmengine's own function sets the same seed every time, so
    that all epochs would see the same crops. The rank counts too, because all processes may have drawn the same seed.
    """
    worker = get_worker_info()
    assert worker is not None
    cv2.setNumThreads(0)
    # A newly started process is in no process group, but launchers put the rank in the environment.
    seed_all(worker.seed, int(os.environ.get('RANK', 0)))
