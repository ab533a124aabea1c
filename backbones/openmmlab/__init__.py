"""OpenMMLab on current PyTorch without a compiler."""


def prepare() -> None:
    """Make mmcv-lite, mmdet and mmseg importable and correct; ``import backbones`` calls it. May be called again.

    Raises:
        ImportError: torch and torchvision are not built for each other.
    """
    from backbones.openmmlab.operators.stand_in import install
    from backbones.openmmlab.pairing import check_pairing, looks_paired
    from backbones.openmmlab.repairs.table import apply_repairs

    # The check imports torchvision, which takes a second: without a suspicion it waits until an operator is needed.
    if not looks_paired():
        check_pairing()
    install()
    apply_repairs()


def describe() -> str:
    """Say in one line what `prepare` did in this process: where mmcv's operators come from, which repairs acted."""
    from backbones.openmmlab.operators.stand_in import install
    from backbones.openmmlab.repairs.table import applied_repairs

    operators = "torchvision's and torch's" if install() else "mmcv's own"
    return f'mmcv operators: {operators}; repairs applied: {", ".join(applied_repairs()) or "none"}'
