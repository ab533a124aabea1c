"""Turn off what the machine does not offer, as configs are written for Linux with NVIDIA GPUs or CPUs."""

import sys

from mmengine.config import Config
from mmengine.device import get_device

# Devices with fused optimizers in every torch that we support.
FUSED = ('cuda', 'cpu')


def fit_machine(cfg: Config, device: str | None = None, platform: str = sys.platform) -> list[str]:
    """Change how data workers start and whether the optimizer is fused, to what the machine can do.

    Args:
        cfg: changed in place.
        device: kind of device, such as 'npu'; None asks mmengine.
        platform: see `sys.platform`.

    Returns:
        a line for each change.
    """
    told = []
    kind = (device or get_device()).split(':')[0]
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    if optimizer.get('fused') and kind not in FUSED:
        optimizer['fused'] = False
        told.append(f'{optimizer.get("type")} is not fused: {kind} may not offer that')
    processes = (cfg.get('env_cfg') or {}).get('mp_cfg') or {}
    if processes.get('mp_start_method') == 'fork' and platform == 'darwin':
        # Objective-C and Metal do not survive a fork.
        processes['mp_start_method'] = 'spawn'
        told.append('data workers are spawned: macOS cannot fork them')
    return told
