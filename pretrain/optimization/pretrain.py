"""Optimizer of the pretraining recipes: which parameters decay, and the learning rate under gradient accumulation."""

from collections.abc import Collection

from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PretrainOptim:
    """Build the optimizer of MAE and BEiT: two groups, and an lr that counts gradient accumulation.

    MAE's rule is ``lr = blr * effective batch / 256``. mmengine scales by batch and processes if the config says
    ``auto_scale_lr=dict(enable=True, base_batch_size=256)``, but not by ``accumulative_counts``, so this class does.
    So ``optimizer.lr`` in the config is the blr. Parameters with one axis (biases, norms) have no weight decay. Class
    and mask token have three axes and decay in MAE's recipe.

    Args:
        optim_wrapper_cfg: mmengine's ``optim_wrapper``, with ``optimizer`` inside.
        paramwise_cfg: ``undecayed``, names of further parameters without weight decay (BEiT: its class token).

    Raises:
        ValueError: ``paramwise_cfg`` has another key, or the optimizer has no lr.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        self.undecayed = tuple((paramwise_cfg or {}).get('undecayed', ()))
        if set(paramwise_cfg or {}) - {'undecayed'}:
            raise ValueError(f'paramwise_cfg of PretrainOptim takes undecayed alone, not {dict(paramwise_cfg or {})}')
        self.wrapper_cfg = dict(optim_wrapper_cfg)
        self.optimizer_cfg = dict(self.wrapper_cfg.pop('optimizer'))
        if 'lr' not in self.optimizer_cfg:
            raise ValueError('optim_wrapper.optimizer needs lr: the base lr, for a batch of 256')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper for the parameters of ``model`` (bare or in DDP) that require gradients."""
        accumulation = self.wrapper_cfg.get('accumulative_counts', 1)
        groups = decay_groups(model, self.undecayed)
        optimizer = OPTIMIZERS.build(
            {**self.optimizer_cfg, 'params': groups, 'lr': self.optimizer_cfg['lr'] * accumulation}
        )
        return OPTIM_WRAPPERS.build({'type': 'OptimWrapper', **self.wrapper_cfg, 'optimizer': optimizer})


def decay_groups(model: nn.Module, undecayed: Collection[str] = ()) -> list[dict]:
    """Split trainable parameters into those that decay (two or more axes) and those that do not.

    Args:
        model: the model.
        undecayed: last parts of the names of further parameters that do not decay, such as ``cls_token``.
    """
    groups: list[dict] = [{'params': []}, {'params': [], 'weight_decay': 0.0}]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            spared = parameter.ndim <= 1 or name.split('.')[-1] in undecayed
            groups[spared]['params'].append(parameter)
    return groups
