"""torch and torchvision must be built for each other: the operators are torchvision's kernels."""

from importlib.metadata import version

import torch


def check_pairing() -> None:
    """Import torchvision and see that its kernels are there.

    Raises:
        ImportError: if torchvision was built for another torch, with both versions and the way out.
    """
    try:
        import torchvision  # noqa: F401
    # torchvision imported beside another torch: `operator torchvision::nms does not exist`, or another CUDA version
    except RuntimeError as error:
        raise ImportError(_advice(str(error))) from error
    if not hasattr(torch.ops.torchvision, 'nms'):
        raise ImportError(_advice('its operators could not be loaded'))
    # Builds for ROCm see their GPUs through torch.cuda and name no CUDA version: theirs is None in torch, -1 in
    # torchvision.
    built_for_cuda = torch.cuda.is_available() and torch.version.cuda is not None
    if built_for_cuda and torch.ops.torchvision._cuda_version() < 0:
        raise ImportError(_advice('torch sees a GPU, but torchvision is built for the CPU only'))


def _advice(reason: str) -> str:
    return (
        f'torchvision {version("torchvision")} does not work with torch {torch.__version__}: {reason}. Both must come '
        'from the same package index (for instance a CPU-only torch needs the CPU-only torchvision): reinstall both '
        'in one command.'
    )
