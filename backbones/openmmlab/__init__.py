"""OpenMMLab on current PyTorch without a compiler."""


def prepare() -> None:
    """Make mmcv-lite, mmdet and mmseg importable and correct; ``import backbones`` does it. May be called again.

    Raises:
        ImportError: if torch and torchvision do not belong together.
    """
    from backbones.openmmlab.pairing import check_pairing

    # first: everything below imports torchvision
    check_pairing()

    from backbones.openmmlab.mmcv_version import accept_newer_mmcv
    from backbones.openmmlab.repairs import apply_repairs
    from backbones.openmmlab.stand_in import install

    install()
    accept_newer_mmcv()
    apply_repairs()
