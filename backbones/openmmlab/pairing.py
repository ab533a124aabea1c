"""Check that torch and torchvision are built for each other, since our operators are torchvision's kernels."""

import re
from importlib.metadata import PackageNotFoundError, requires, version

import torch


def looks_paired() -> bool:
    """Whether torch and torchvision belong together by what their packages say; torchvision is not imported.

    It names the torch that it was built for, and builds of one index carry the same label (``+cpu``, ``+cu130``).
    """
    try:
        torch_release, _, torch_label = version('torch').partition('+')
        label = version('torchvision').partition('+')[2]
    except PackageNotFoundError:  # built by hand: it says nothing
        return False
    wanted = [match[1] for each in requires('torchvision') or () if (match := re.match(r'torch\W*==\s*([\w.]+)', each))]
    return label == torch_label and all(release == torch_release for release in wanted)


def check_pairing() -> None:
    """Import torchvision and check that its kernels are there.

    Raises:
        ImportError: torchvision was built for another torch; the message names both versions and a way out.
    """
    try:
        import torchvision  # noqa: F401
    # With another torch, importing torchvision fails: `operator torchvision::nms does not exist`, or a CUDA mismatch.
    except RuntimeError as error:
        raise ImportError(_advice(str(error))) from error
    if not hasattr(torch.ops.torchvision, 'nms'):
        raise ImportError(_advice('its operators could not be loaded'))
    # ROCm builds reach their GPUs through torch.cuda but have no CUDA version: torch says None, torchvision -1.
    built_for_cuda = torch.cuda.is_available() and torch.version.cuda is not None
    if built_for_cuda and torch.ops.torchvision._cuda_version() < 0:
        raise ImportError(_advice('torch sees a GPU, but torchvision is built for the CPU only'))


def _advice(reason: str) -> str:
    return (
        f'torchvision {version("torchvision")} does not work with torch {torch.__version__}: {reason}. Both must come '
        'from the same package index (for instance a CPU-only torch needs the CPU-only torchvision): reinstall both '
        'in one command.'
    )
