"""Classification on a pretrained ViT: end-to-end or partial fine-tuning.

Letters: B batch, C channels, D width, N classes.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from backbones.vit import PlainViT
from backbones.vit.layers import LAYER_NORM_EPS
from backbones.vit.linear import Linear
from pretrain.data.batch_augment import BatchAugment
from pretrain.data.randomness import seed_step
from pretrain.evaluation.features import check_plain, check_pool, pooled_features
from pretrain.evaluation.partial import freeze_all_but


@MODELS.register_module()
class Classifier(BaseModel):
    """A PlainViT, pooling, and a linear layer; parameters have the names of MAE's and BEiT's fine-tuned models.

    Args:
        backbone: a `PlainViT` or its config. With ``pool='mean'`` it has ``out_norm=False``, because the norm comes
            after the pooling; with ``'class'`` it has ``out_norm=True``.
        num_classes: N.
        pool: 'mean' of the patch tokens, normed afterwards (``fc_norm``), or the normed 'class' token.
        head_std: deviation of the head's initial weights; MAE's 2e-5 is BEiT's 0.02 times 0.001.
        augment: arguments of `BatchAugment` except the classes; None trains on unaltered images.
        tuned_blocks: train only this number of last blocks and the layers after them, where a half adds the MLP of one
            more block; None trains all. See `pretrain.evaluation.partial.freeze_all_but`.
        data_preprocessor: mmengine preprocessor that normalises on the device, or its config.

    Raises:
        ValueError: backbone and pooling do not go together, or a value is out of its range.
    """

    def __init__(
        self,
        backbone: dict | PlainViT,
        num_classes: int,
        pool: str = 'mean',
        head_std: float = 2e-5,
        augment: dict | None = None,
        tuned_blocks: float | None = None,
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        super().__init__(data_preprocessor)
        self.backbone: PlainViT = MODELS.build(backbone) if isinstance(backbone, dict) else backbone
        check_backbone(self.backbone, pool)
        self.pool = pool
        width = self.backbone.embed_dim
        self.fc_norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS) if pool == 'mean' else nn.Identity()
        self.head = Linear(width, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=head_std)
        nn.init.zeros_(self.head.bias)
        self.augment = BatchAugment(num_classes, **(augment or {}))
        self.frozen = [] if tuned_blocks is None else freeze_all_but(self.backbone, tuned_blocks)

    def forward(
        self, inputs: Tensor, data_samples: Tensor | None = None, mode: str = 'tensor'
    ) -> dict[str, Tensor] | list[BaseDataElement] | Tensor:
        """Run the model on normalised images.

        Args:
            inputs: (B, C, h, w).
            data_samples: labels, int64 (B,).
            mode: 'loss', 'predict' (see `predictions`), or 'tensor' for the logits (B, N).

        Raises:
            ValueError: another mode, or 'loss' without labels.
        """
        if mode == 'loss':
            if data_samples is None:
                raise ValueError("mode='loss' needs the labels as data_samples")
            seed_step()
            images, targets = self.augment(inputs, data_samples)
            return {'loss': F.cross_entropy(self.logits(images).float(), targets)}
        if mode == 'predict':
            return predictions(in_float32(self.scores, self.features(inputs)), data_samples)
        if mode == 'tensor':
            return self.logits(inputs)
        raise ValueError(f"mode={mode!r} is unknown: use 'loss', 'predict' or 'tensor'")

    def logits(self, images: Tensor) -> Tensor:
        """Map images (B, C, h, w) to (B, N)."""
        return self.scores(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Map images (B, C, h, w) to (B, D)."""
        return pooled_features(self.backbone, images, self.pool)

    def scores(self, features: Tensor) -> Tensor:
        """Map features (B, D) to logits (B, N)."""
        return self.head(self.fc_norm(features.to(self.head.weight.dtype)))

    def train(self, mode: bool = True) -> 'Classifier':
        """Switch mode; frozen parts stay in evaluation mode, so that nothing in them is random."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


def in_float32(head: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    """Run a head without autocast: with 1000 classes, bfloat16 makes the best two scores tie in 1.6 % of the images."""
    with torch.autocast(features.device.type, enabled=False):
        return head(features)


def predictions(logits: Tensor, labels: Tensor | None = None) -> list[BaseDataElement]:
    """Predictions in the form that mmengine's evaluation takes.

    Args:
        logits: (B, N), or (B, heads, N) for several heads.
        labels: int64 (B,).

    Returns:
        per image: ``scores`` (N,) or (heads, N), the softmax of the logits; and ``label``, if ``labels`` are given.
    """
    results = [BaseDataElement(scores=each) for each in logits.float().softmax(dim=-1)]
    if labels is not None:
        for result, label in zip(results, labels, strict=True):
            result.label = label
    return results


def check_backbone(backbone: PlainViT, pool: str) -> None:
    """Refuse a backbone whose final norm does not match the kind of pooling.

    Raises:
        ValueError: says what to change.
    """
    check_plain(backbone, 'Classifier')
    check_pool(backbone, pool)
    normed = isinstance(backbone.norm, nn.LayerNorm)
    if normed != (pool == 'class'):
        place = "behind the pooling: set out_norm=False in the backbone, or pool='class'"
        before = "in front of the pooling: set out_norm=True in the backbone, or pool='mean'"
        raise ValueError(f'pool={pool!r} has its norm {before if pool == "class" else place}')
