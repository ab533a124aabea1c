"""Our models for OpenMMLab: registered under their names, with ``init_cfg``."""

import copy
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mmengine.model import BaseModule, update_init_info
from mmengine.registry import MODELS, WEIGHT_INITIALIZERS
from torch import Tensor, nn

from backbones import pyramid, vit
from backbones.checkpoint.kernel import Channels
from backbones.checkpoint.load import load_pretrained
from backbones.vit.positions import Positions, grouped

MODELS.register_module('LN2d', module=pyramid.LayerNorm2d)

Model = TypeVar('Model', bound=vit.PlainViT)
# Type checkers may treat the mixin as a model, since it always comes before one in the bases.
if TYPE_CHECKING:
    from mmengine.model import BaseModule as Base
else:
    Base = object


class FromConfig(Base):
    """Mixin that adds mmengine's ``init_cfg`` argument, carried out by ``init_weights()``.

    It comes before a module and mmengine's BaseModule in the bases. A model warns if it is used before its ``init_cfg``
    was carried out or weights were loaded: mmengine's Runner does this by itself, but code that builds a model by hand
    may forget it.

    Args:
        args: arguments of the module.
        init_cfg: mmengine initialisation, usually ``dict(type='PretrainedViT', checkpoint=...)``.
        kwargs: keyword arguments of the module.
    """

    # Arguments of the module that group several options; a config lists these options flat.
    groups: Mapping[str, type] = {}
    _waits: tuple[int, int] | None = None

    def __init_subclass__(cls) -> None:
        # mmengine, and our own advice on unknown keys, read a class's arguments from its signature.
        if FromConfig not in cls.__bases__:
            setattr(cls, '__signature__', None)  # noqa: B010  (a subclass has its own signature)
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
    """`backbones.vit.PlainViT` with flat options, those of `backbones.vit.Positions` included, and ``init_cfg``."""

    groups = {'positions': Positions}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **grouped(options))

    @classmethod
    def from_options(cls: type[Model], **options: Any) -> Model:
        """Build a model, as the constructor of this class does."""
        return cls(**options)

    def _check_images(self, images: Tensor) -> None:
        # Pretraining calls `embed` and `encode`, never the model itself, so the forward hook does not run.
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
        """Load the checkpoint into ``module``.

        Raises:
            ValueError: ``module`` is not a PlainViT, or `load_pretrained` refuses the file.
        """
        if not isinstance(module, vit.PlainViT):
            raise ValueError(
                f'PretrainedViT fills a PlainViT, not a {type(module).__name__}: put the init_cfg on the backbone'
            )
        load_pretrained(module, self.checkpoint, **self.options)
        # This attribute exists only while mmengine initialises a whole model.
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'PretrainedViT: load from {self.checkpoint}')
