"""Linear probes for mmengine: a frozen ViT and linear layers on top.

Letters: B batch, C channels, D width, N classes, S blocks.
"""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from backbones.vit import PlainViT
from pretrain.evaluation.classify import in_float32, predictions
from pretrain.evaluation.features import check_plain, check_pool, layer_features, pooled_features
from pretrain.evaluation.probe import HEAD_STD, build_probe


class FrozenProbe(BaseModel):
    """Base of the probes: a backbone that never trains, and stays in evaluation mode so that nothing in it is random.

    Args:
        backbone: a `PlainViT` or its config.
        data_preprocessor: mmengine preprocessor that normalises on the device, or its config.

    Raises:
        ValueError: the backbone is no PlainViT.
    """

    def __init__(self, backbone: dict | PlainViT, data_preprocessor: dict | nn.Module | None) -> None:
        super().__init__(data_preprocessor)
        self.backbone: PlainViT = MODELS.build(backbone) if isinstance(backbone, dict) else backbone
        check_plain(self.backbone, type(self).__name__)
        self.backbone.requires_grad_(False).eval()

    def logits(self, images: Tensor) -> Tensor:
        """Map images (B, C, h, w) to logits (B, N), or (B, heads, N) for several heads."""
        return self.scores(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Features of images (B, C, h, w) from the frozen backbone."""
        raise NotImplementedError

    def scores(self, features: Tensor) -> Tensor:
        """Map features to logits, see `logits`."""
        raise NotImplementedError

    def forward(
        self, inputs: Tensor, data_samples: Tensor | None = None, mode: str = 'tensor'
    ) -> dict[str, Tensor] | list[BaseDataElement] | Tensor:
        """Run the model on normalised images.

        Args:
            inputs: (B, C, h, w).
            data_samples: labels, int64 (B,).
            mode: 'loss', summed over the heads; 'predict', see `pretrain.evaluation.classify.predictions`; or
                'tensor' for the logits.

        Raises:
            ValueError: another mode, or 'loss' without labels.
        """
        if mode == 'tensor':
            return self.logits(inputs)
        if mode == 'predict':
            return predictions(in_float32(self.scores, self.features(inputs)), data_samples)
        if mode != 'loss':
            raise ValueError(f"mode={mode!r} is unknown: use 'loss', 'predict' or 'tensor'")
        if data_samples is None:
            raise ValueError("mode='loss' needs the labels as data_samples")
        # (B, ..., N) -> (B heads, N)
        rows = self.logits(inputs).float().flatten(0, -2)
        heads = len(rows) // len(data_samples)
        return {'loss': heads * F.cross_entropy(rows, data_samples.repeat_interleave(heads))}

    def train(self, mode: bool = True) -> 'FrozenProbe':
        """Switch the mode of the probe only."""
        super().train(mode)
        self.backbone.eval()
        return self


@MODELS.register_module()
class LinearProbe(FrozenProbe):
    """Batch norm without weights and a linear layer on pooled features (MAE: arXiv 2111.06377, appendix A).

    Args:
        backbone: see `FrozenProbe`; it has ``out_norm=True``, the norm that pretraining ended with.
        num_classes: N.
        pool: the 'class' token, as MAE does, or the 'mean' of the normed patch tokens.
        data_preprocessor: see `FrozenProbe`.

    Raises:
        ValueError: the backbone is no PlainViT, has no final norm, or lacks the token to pool.
    """

    def __init__(
        self,
        backbone: dict | PlainViT,
        num_classes: int,
        pool: str = 'class',
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor)
        check_normed(self.backbone)
        check_pool(self.backbone, pool)
        self.pool = pool
        self.head = build_probe(self.backbone.embed_dim, num_classes)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Map images (B, C, h, w) to (B, D)."""
        return pooled_features(self.backbone, images, self.pool)

    def scores(self, features: Tensor) -> Tensor:
        """Map features (B, D) to (B, N)."""
        return self.head(features.to(next(self.head.parameters()).dtype))


@MODELS.register_module()
class LayerProbes(FrozenProbe):
    """One linear layer per block, on its class token and mean concatenated (BEiT: arXiv 2106.08254).

    Args:
        backbone: see `FrozenProbe`; its final norm is not used.
        num_classes: N.
        data_preprocessor: see `FrozenProbe`.

    Raises:
        ValueError: the backbone is no PlainViT, or has no class token.
    """

    def __init__(
        self,
        backbone: dict | PlainViT,
        num_classes: int,
        data_preprocessor: dict | nn.Module | None = None,
    ) -> None:
        super().__init__(backbone, data_preprocessor)
        check_pool(self.backbone, 'class')
        heads = [nn.Linear(2 * self.backbone.embed_dim, num_classes) for _ in range(self.backbone.depth)]
        for head in heads:
            nn.init.normal_(head.weight, std=HEAD_STD)
            nn.init.zeros_(head.bias)
        self.heads = nn.ModuleList(heads)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Map images (B, C, h, w) to (B, S, 2 D)."""
        return layer_features(self.backbone, images)

    def scores(self, features: Tensor) -> Tensor:
        """Map features (B, S, 2 D) to (B, S, N)."""
        features = features.to(next(self.heads.parameters()).dtype)
        return torch.stack([head(each) for head, each in zip(self.heads, features.unbind(1), strict=True)], dim=1)


def check_normed(backbone: PlainViT) -> None:
    """Refuse a backbone without its final norm.

    Raises:
        ValueError: says what to change.
    """
    if not isinstance(backbone.norm, nn.LayerNorm):
        raise ValueError('LinearProbe takes normed tokens: set out_norm=True in the backbone')
