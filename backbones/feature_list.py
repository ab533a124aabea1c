"""PlainViT for code that expects timm's ``features_only`` models, such as Lightning-based toolkits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from timm.models import FeatureInfo
from torch import Tensor, nn

from backbones.checkpoint.load import load_pretrained
from backbones.pyramid import DeconvPyramid
from backbones.vit import PlainViT

SCALES = (4, 2, 1, 0.5)


class FeatureList(nn.Module):
    """A PlainViT with its pyramid that returns a list of maps, finest first, and describes them.

    Attributes:
        out_channels: channels of each map.
        feature_info: timm's description of the maps: ``channels()``, ``reduction()``, ``module_name()``.

    Args:
        checkpoint: weights for the backbone, see `backbones.checkpoint.load.load_pretrained`; None for random ones.
        pyramid: rescale the maps to strides p/4, p/2, p and 2p for patches of p pixels; False leaves all at p.
        norm: norm in the pyramid, see `DeconvPyramid`.
        out_indices: blocks whose output is used; exactly four with a pyramid.
        options: further arguments of `PlainViT`.

    Raises:
        ValueError: the number of ``out_indices`` does not fit the pyramid, or the checkpoint does not fit the model.
    """

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        pyramid: bool = True,
        norm: str = 'gn',
        out_indices: Sequence[int] = (2, 5, 8, 11),
        **options: Any,
    ) -> None:
        super().__init__()
        self.backbone = PlainViT.from_options(out_indices=out_indices, **options)
        if pyramid and len(out_indices) != len(SCALES):
            raise ValueError(
                f'the pyramid makes {len(SCALES)} maps and out_indices={tuple(out_indices)} names {len(out_indices)} '
                f'blocks: name {len(SCALES)}, or use pyramid=False'
            )
        if checkpoint is not None:
            load_pretrained(self.backbone, checkpoint)
        self.pyramid = DeconvPyramid(self.backbone.embed_dim, SCALES, norm) if pyramid else nn.Identity()
        scales = SCALES if pyramid else (1,) * len(out_indices)
        described = [
            dict(num_chs=self.backbone.embed_dim, reduction=self.backbone.patch_size / scale, module=f'blocks.{index}')
            for scale, index in zip(scales, self.backbone.out_indices, strict=True)
        ]
        self.feature_info = FeatureInfo(described, out_indices=tuple(range(len(described))))
        self.out_channels: list[int] = self.feature_info.channels()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images (B, C, h, w) to maps (B, D, h / reduction, w / reduction); sizes round up to whole patches."""
        return list(self.pyramid(self.backbone(images)))
