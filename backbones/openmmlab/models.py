"""Our models as OpenMMLab builds them: with ``init_cfg``, under their names in its registry."""

import copy
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmengine.model import BaseModule, update_init_info
from mmengine.registry import MODELS, WEIGHT_INITIALIZERS
from torch import Tensor, nn

from backbones import pyramid, vit
from backbones.checkpoint.kernel import Channels
from backbones.checkpoint.load import load_pretrained
from backbones.vit.positions import Positions, grouped

MODELS.register_module('LN2d', module=pyramid.LayerNorm2d)


# A mixin that type checkers may take for a model; it stands before one.
Base = BaseModule if TYPE_CHECKING else object


class FromConfig(Base):
    """What mmengine's models have beside their own arguments: ``init_cfg``, carried out by ``init_weights()``.

    Stands before a module and mmengine's BaseModule. A model that is used before its ``init_cfg`` was carried out, or
    weights were loaded, warns: mmengine's Runner does either by itself, and whoever builds a model by hand may forget.

    Args:
        args: of the module.
        init_cfg: mmengine initialisation, usually ``dict(type='PretrainedViT', checkpoint=...)``.
        kwargs: of the module.
    """

    # Arguments of the module whose own arguments stand beside the others in a config.
    groups: Mapping[str, type] = {}
    _waits: tuple[int, int] | None = None

    def __init_subclass__(cls) -> None:
        # mmengine, and our own advice on keys that do not exist, ask a class for its arguments.
        if FromConfig not in cls.__bases__:
            setattr(cls, '__signature__', None)  # noqa: B010  (a subclass speaks for itself)
            return
        own = inspect.signature(cls.__mro__[2]).parameters
        plain = [parameter for name, parameter in own.items() if name not in cls.groups]
        inside = [each for group in cls.groups.values() for each in inspect.signature(group).parameters.values()]
        init_cfg = inspect.Parameter('init_cfg', inspect.Parameter.KEYWORD_ONLY, default=None)
        keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in inside]
        setattr(cls, '__signature__', inspect.Signature([*plain, *keywords, init_cfg]))  # noqa: B010

    def __init__(self, *args: Any, init_cfg: dict | list[dict] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.init_cfg = copy.deepcopy(init_cfg)
        if wants_weights(init_cfg):
            before = self.register_forward_pre_hook(_warn)
            after = self.register_load_state_dict_post_hook(_settle)
            self._waits = before.id, after.id

    def init_weights(self) -> None:
        """Carry out ``init_cfg``; mmengine's models call it."""
        super().init_weights()
        _settle(self)


def wants_weights(init_cfg: dict | list[dict] | None) -> bool:
    """Whether an ``init_cfg`` names a checkpoint."""
    entries = init_cfg if isinstance(init_cfg, list) else [init_cfg]
    return any(entry is not None and entry.get('checkpoint') is not None for entry in entries)


def _warn(model: FromConfig, inputs: object) -> None:
    warnings.warn(
        f'{type(model).__name__} computes with random weights: its init_cfg={model.init_cfg} has not been carried out. '
        'Call init_weights(), as a Runner does, or load weights',
        stacklevel=4,
    )
    _settle(model)


def _settle(model: FromConfig, *_: object) -> None:
    if model._waits is not None:
        before, after = model._waits
        model._forward_pre_hooks.pop(before, None)
        model._load_state_dict_post_hooks.pop(after, None)
        model._waits = None


@MODELS.register_module()
class PlainViT(FromConfig, vit.PlainViT, BaseModule):
    """`backbones.vit.PlainViT`, its options and those of `backbones.vit.Positions` side by side, and ``init_cfg``."""

    groups = {'positions': Positions}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **grouped(options))

    @classmethod
    def from_options(cls, **options: Any) -> 'PlainViT':
        """Build a model; here as by its constructor."""
        return cls(**options)

    def _check_images(self, images: Tensor) -> None:
        # Pretraining embeds and encodes, and never calls the model as a whole.
        if self._waits is not None:
            _warn(self, images)
        super()._check_images(images)


@MODELS.register_module()
class DeconvPyramid(FromConfig, pyramid.DeconvPyramid, BaseModule):
    __doc__ = pyramid.DeconvPyramid.__doc__


@MODELS.register_module()
class SimpleFeaturePyramid(FromConfig, pyramid.SimpleFeaturePyramid, BaseModule):
    __doc__ = pyramid.SimpleFeaturePyramid.__doc__


@WEIGHT_INITIALIZERS.register_module()
class PretrainedViT:
    """mmengine initialiser: ``init_cfg=dict(type='PretrainedViT', checkpoint='mae_pretrain_vit_base.pth')``.

    Args:
        checkpoint: see `load_pretrained`.
        allow_missing: see `load_pretrained`.
        channels: see `load_pretrained`.
        key: see `load_pretrained`.
        prefix: see `load_pretrained`.
    """

    def __init__(
        self,
        checkpoint: str,
        allow_missing: Sequence[str] = (),
        channels: Channels = None,
        key: str | None = None,
        prefix: str | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.options: dict[str, Any] = dict(allow_missing=allow_missing, channels=channels, key=key, prefix=prefix)

    def __call__(self, module: nn.Module) -> None:
        """Load into ``module``.

        Raises:
            ValueError: ``module`` is no PlainViT, or `load_pretrained` refuses the file.
        """
        if not isinstance(module, vit.PlainViT):
            raise ValueError(
                f'PretrainedViT fills a PlainViT, not a {type(module).__name__}: put the init_cfg on the backbone'
            )
        load_pretrained(module, self.checkpoint, **self.options)
        # mmengine keeps this only while it initialises a whole model.
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'PretrainedViT: load from {self.checkpoint}')
