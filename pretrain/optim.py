"""Optimizer of the MAE recipe: which parameters decay, and the learning rate under gradient accumulation."""

from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PretrainOptim:
    """Build MAE's optimizer: two groups, and an lr that counts gradient accumulation.

    The paper's rule is ``lr = blr * effective batch / 256``. mmengine scales by batch and processes when the config
    says ``auto_scale_lr=dict(enable=True, base_batch_size=256)``; it leaves out ``accumulative_counts``, which is
    multiplied here. So ``optimizer.lr`` in the config is the blr. Weight decay spares what has one axis (biases,
    norms); class and mask token have three and decay, as in the published recipe.

    Args:
        optim_wrapper_cfg: mmengine's ``optim_wrapper``, with ``optimizer`` inside.
        paramwise_cfg: must be None.

    Raises:
        ValueError: ``paramwise_cfg`` is given, or the optimizer has no lr.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        if paramwise_cfg:
            raise ValueError(f'PretrainOptim sets its groups itself, remove paramwise_cfg={paramwise_cfg}')
        self.wrapper_cfg = dict(optim_wrapper_cfg)
        self.optimizer_cfg = dict(self.wrapper_cfg.pop('optimizer'))
        if 'lr' not in self.optimizer_cfg:
            raise ValueError('optim_wrapper.optimizer needs lr: the base lr, for a batch of 256')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper for the parameters of ``model`` (bare or in DDP) that require gradients."""
        accumulation = self.wrapper_cfg.get('accumulative_counts', 1)
        groups = decay_groups(model)
        optimizer = OPTIMIZERS.build(
            {**self.optimizer_cfg, 'params': groups, 'lr': self.optimizer_cfg['lr'] * accumulation}
        )
        return OPTIM_WRAPPERS.build({'type': 'OptimWrapper', **self.wrapper_cfg, 'optimizer': optimizer})


def decay_groups(model: nn.Module) -> list[dict]:
    """Split trainable parameters in those that decay (two or more axes) and those that do not."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {'params': [parameter for parameter in trainable if parameter.ndim > 1]},
        {'params': [parameter for parameter in trainable if parameter.ndim <= 1], 'weight_decay': 0.0},
    ]
