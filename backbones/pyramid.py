"""Pyramids that turn the stride-16 maps of a plain ViT into maps of strides 4, 8, 16, 32.

Letters: B batch, D width, H, W grid of the ViT.
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

# The eps that mmcv passes to a norm whose config names none.
MMCV_EPS = 1e-5


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of a map, with eps 1e-6 as in ViTDet; usable as ``norm_cfg=dict(type='LN2d')``.

    Args:
        num_features: channels C.
        eps: 1e-5 also means 1e-6, since mmcv passes it where a config names no eps.
    """

    def __init__(self, num_features: int, eps: float = 1e-6) -> None:
        super().__init__(num_features, eps=1e-6 if eps == MMCV_EPS else eps)

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise (B, C, H, W) over C."""
        # (B, C, H, W) -> (B, H, W, C), normed, and back
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    'gn': lambda channels: nn.GroupNorm(32, channels),
    'bn': nn.BatchNorm2d,
    'syncbn': nn.SyncBatchNorm,
    'ln': LayerNorm2d,
}


def upsample(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """Double a map's height and width with a learned 2x2 deconvolution."""
    return nn.ConvTranspose2d(in_channels, out_channels, 2, 2)


class DeconvPyramid(nn.Module):
    """Rescale stride-16 maps to several strides, as Li et al. (arXiv 2111.11429), MAE and BEiT do.

    x4 is deconv-norm-GELU-deconv, x2 a deconv, x1 the identity, x1/2 a max pool. All maps keep their width.

    Args:
        in_channels: width D of the maps.
        scales: 4, 2, 1 or 0.5 for each output map, in order.
        norm: norm inside the x4 branch: 'gn' (32 groups), 'bn', 'syncbn' or 'ln'.

    Raises:
        ValueError: an unknown scale or norm.
    """

    def __init__(
        self,
        in_channels: int,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        norm: str = 'gn',
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f'norm={norm!r} is unknown: use one of {", ".join(NORMS)}')
        self.branches = nn.ModuleList(self._branch(scale, in_channels, norm) for scale in scales)

    @staticmethod
    def _branch(scale: float, channels: int, norm: str) -> nn.Module:
        if scale == 4:
            return nn.Sequential(
                upsample(channels, channels), NORMS[norm](channels), nn.GELU(), upsample(channels, channels)
            )
        if scale == 2:
            return upsample(channels, channels)
        if scale == 1:
            return nn.Identity()
        if scale == 0.5:
            return nn.MaxPool2d(2, 2)
        raise ValueError(f'scale {scale} is unknown: use 4, 2, 1 or 0.5')

    def forward(self, maps: Sequence[Tensor] | Tensor) -> tuple[Tensor, ...]:
        """Rescale the maps.

        Args:
            maps: (B, D, H, W) each, one per scale, or a single one for every scale.

        Returns:
            (B, D, scale * H, scale * W) for each scale.

        Raises:
            ValueError: the number of maps is neither 1 nor that of the scales.
        """
        if isinstance(maps, Tensor):
            maps = (maps,)
        if len(maps) == 1:
            maps = tuple(maps) * len(self.branches)
        if len(maps) != len(self.branches):
            raise ValueError(
                f'DeconvPyramid with {len(self.branches)} scales takes 1 or as many maps, got {len(maps)}: '
                "set the backbone's out_indices to match"
            )
        return tuple(branch(each) for branch, each in zip(self.branches, maps, strict=True))


class SimpleFeaturePyramid(nn.Module):
    """The pyramid of ViTDet (arXiv 2203.16527): four strides from the last map, without a top-down path.

    Each level ends in conv1x1-LN-conv3x3-LN without bias or activation; an additional last level p6 is p5 subsampled
    by 2.

    Args:
        in_channels: width D of the map.
        out_channels: channels of every level.
    """

    def __init__(self, in_channels: int, out_channels: int = 256) -> None:
        super().__init__()
        half, quarter = in_channels // 2, in_channels // 4
        to_stride_4 = [upsample(in_channels, half), LayerNorm2d(half), nn.GELU(), upsample(half, quarter)]
        rescale: list[tuple[list[nn.Module], int]] = [
            (to_stride_4, quarter),
            ([upsample(in_channels, half)], half),
            ([], in_channels),
            ([nn.MaxPool2d(2, 2)], in_channels),
        ]
        self.levels = nn.ModuleList(
            nn.Sequential(*layers, *self._project(channels, out_channels)) for layers, channels in rescale
        )

    @staticmethod
    def _project(in_channels: int, out_channels: int) -> list[nn.Module]:
        return [
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        ]

    def forward(self, maps: Sequence[Tensor] | Tensor) -> tuple[Tensor, ...]:
        """Map the last (B, D, H, W) map to five (B, out_channels, ...) maps of strides 4, 8, 16, 32, 64."""
        last = maps if isinstance(maps, Tensor) else maps[-1]
        levels = [level(last) for level in self.levels]
        return (*levels, F.max_pool2d(levels[-1], 1, 2))
