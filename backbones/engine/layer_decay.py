"""Layer-wise learning-rate decay for mmengine, by the rules in `backbones.layer_decay`."""

from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from backbones.layer_decay import DecayRule, describe, grouped


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerWiseDecay(DefaultOptimWrapperConstructor):
    """Optimizer-wrapper constructor: ``constructor='LayerWiseDecay', paramwise_cfg=dict(decay_rate=0.75)``.

    Parameters with the same learning rate and weight decay share a group, so that fused optimizers stay fast; frozen
    parameters are left out. The groups are logged once. The first group has the full learning rate, so logs show that.
    Schedulers keep the ratios only if they multiply: give cosine schedules ``eta_min=0`` or ``eta_min_ratio``, never
    another ``eta_min``, which mmengine uses as an absolute floor for every group.

    Args:
        optim_wrapper_cfg: mmengine's config, with ``lr`` and ``weight_decay`` in ``optimizer``.
        paramwise_cfg: ``decay_rate`` and, optionally, ``preset`` (a key of `PRESETS`, default 'mae').

    Raises:
        ValueError: a key or value in these configs is missing, unknown or out of range.
    """

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        unknown = self.paramwise_cfg.keys() - {'decay_rate', 'preset'}
        if unknown or 'decay_rate' not in self.paramwise_cfg:
            raise ValueError(
                f'paramwise_cfg of LayerWiseDecay takes decay_rate and preset, not {dict(self.paramwise_cfg)}'
            )
        if self.base_lr is None or self.base_wd is None:
            raise ValueError(f'LayerWiseDecay needs lr and weight_decay in optimizer={dict(self.optimizer_cfg)}')
        self.rule = DecayRule(self.base_lr, self.base_wd, **self.paramwise_cfg)

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any) -> None:
        """Append the groups of ``module`` to ``params``; mmengine calls it once, with the whole model."""
        groups = grouped(module, self.rule)
        params.extend(group for group, _ in groups)
        print_log(describe(self.rule, [rows for _, rows in groups]), logger='current')
