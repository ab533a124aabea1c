"""Augmentation of a normalised batch in fine-tuning: erasing, mixup, cutmix, smoothed labels.

Letters: B batch, C channels, N classes.
"""

import torch
import torch.nn.functional as F
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from pretrain.data.reading import seeded_libraries


class BatchAugment:
    """Erase and mix images, and make soft targets, all with timm; PyTorch's seed decides what is drawn.

    Mixing pairs each sample with another of the batch, with one strength for all (arXiv 1710.09412, 1905.04899). If
    both kinds are on, each batch draws one of them. The last sample of an odd batch is not mixed.

    Args:
        num_classes: N.
        mixup: alpha of mixup; 0 for none.
        cutmix: alpha of cutmix; 0 for none.
        label_smoothing: share of a target spread over all classes.
        erasing: probability of replacing a rectangle of an image by noise (arXiv 1708.04896); 0 for none.

    Raises:
        ValueError: a value is out of its range.
    """

    def __init__(
        self,
        num_classes: int,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        label_smoothing: float = 0.0,
        erasing: float = 0.0,
    ) -> None:
        if mixup < 0 or cutmix < 0:
            raise ValueError(f'mixup={mixup} and cutmix={cutmix} are alphas of a beta distribution: 0 or more')
        if not (0 <= label_smoothing < 1 and 0 <= erasing <= 1):
            raise ValueError(f'label_smoothing={label_smoothing} has to be in [0, 1) and erasing={erasing} in [0, 1]')
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.erasing = erasing
        options = dict(label_smoothing=label_smoothing, num_classes=num_classes)
        self.mix = Mixup(mixup, cutmix, **options) if mixup or cutmix else None

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: (B, C, h, w), normalised; changed in place.
            labels: int64 (B,).

        Returns:
            images, and targets (B, N) that sum to one.
        """
        targets = self.soft_targets(labels)
        with seeded_libraries():
            if self.erasing:
                images = RandomErasing(self.erasing, mode='pixel', device=images.device)(images)
            even = len(images) // 2 * 2
            if self.mix is not None and even:
                mixed, mixed_targets = self.mix(images[:even], labels[:even])
                images = torch.cat([mixed, images[even:]])
                targets = torch.cat([mixed_targets.to(targets), targets[even:]])
        return images, targets

    def soft_targets(self, labels: Tensor) -> Tensor:
        """Smoothed targets float32 (B, N) of labels (B,)."""
        exact = F.one_hot(labels, self.num_classes).float()
        return exact * (1 - self.label_smoothing) + self.label_smoothing / self.num_classes
