"""OpenMMLab on current PyTorch without a compiler."""


def prepare() -> None:
    """Make mmcv-lite, mmdet and mmseg importable and correct; done once by ``import backbones``."""
