"""Optimizer of fine-tuning: layer-wise decay, and a learning rate that counts gradient accumulation."""

from typing import Any

from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from backbones.engine.layer_decay import LayerWiseDecay


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class FinetuneOptim:
    """Build the optimizer by `LayerWiseDecay`, with the lr multiplied by ``accumulative_counts``.

    So the lr follows the effective batch with ``auto_scale_lr``, as in `pretrain.optimization.pretrain.PretrainOptim`.

    Args:
        optim_wrapper_cfg: see `LayerWiseDecay`.
        paramwise_cfg: see `LayerWiseDecay`.

    Raises:
        ValueError: see `LayerWiseDecay`; or the optimizer has no lr.
    """

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        optimizer = dict(optim_wrapper_cfg['optimizer'])
        if 'lr' not in optimizer:
            raise ValueError('optim_wrapper.optimizer needs lr: that of auto_scale_lr.base_batch_size images')
        optimizer['lr'] *= optim_wrapper_cfg.get('accumulative_counts', 1)
        self.layer_wise = LayerWiseDecay({**optim_wrapper_cfg, 'optimizer': optimizer}, paramwise_cfg)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper for the parameters of ``model`` (bare or in DDP) that require gradients."""
        return self.layer_wise(model)
