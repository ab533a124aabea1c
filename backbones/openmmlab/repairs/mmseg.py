"""Segmentation of images whose sides are not multiples of the ViT's patch size."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor, nn

from backbones.openmmlab.repairs.rebind import when_imported

SEGMENTORS = (
    'mmseg.models.segmentors.encoder_decoder.EncoderDecoder',
    'mmseg.models.segmentors.cascade_encoder_decoder.CascadeEncoderDecoder',
)
# mmseg's label of ignored pixels, for heads that do not name their own.
IGNORED = 255


def missing_pixels(backbone: nn.Module, size: Sequence[int]) -> tuple[int, int]:
    """Rows below and columns to the right that a PlainViT pads images (H, W) with; 0 for other backbones."""
    from backbones.vit import PlainViT

    if not isinstance(backbone, PlainViT):
        return 0, 0
    return -size[0] % backbone.patch_size, -size[1] % backbone.patch_size


def pad(values: Tensor, missing: tuple[int, int], value: float = 0) -> Tensor:
    """Add rows below and columns to the right of (..., H, W)."""
    return F.pad(values, (0, missing[1], 0, missing[0]), value=value)


def padded_sample(sample: BaseDataElement, missing: tuple[int, int], ignored: int) -> BaseDataElement:
    """Copy a sample, with its label maps padded by ignored pixels; the given sample does not change."""
    copy = sample.new()
    for name, field in sample.items():
        if isinstance(field, PixelData):
            maps = {key: pad(values, missing, ignored) for key, values in field.items()}
            copy.set_field(PixelData(metainfo=field.metainfo, **maps), name)
    return copy


def _with_whole_patches(encode_decode: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compute scores of the image padded to whole patches, as the ViT's map covers the padding, and crop them."""

    @functools.wraps(encode_decode)
    def encode_decode_whole(self: Any, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        height, width = inputs.shape[2:]
        missing = missing_pixels(self.backbone, (height, width))
        if not any(missing):
            return encode_decode(self, inputs, batch_img_metas)
        inputs = pad(inputs, missing)
        # Heads resize their scores to this size.
        shapes = dict.fromkeys(('img_shape', 'pad_shape'), torch.Size(inputs.shape[2:]))
        scores = encode_decode(self, inputs, [{**meta, **shapes} for meta in batch_img_metas])
        return scores[:, :, :height, :width]

    return encode_decode_whole


def _with_whole_patches_in_training(loss: Callable[..., dict]) -> Callable[..., dict]:
    @functools.wraps(loss)
    def loss_whole(self: Any, inputs: Tensor, data_samples: list[BaseDataElement]) -> dict:
        missing = missing_pixels(self.backbone, inputs.shape[2:])
        if any(missing):
            ignored = getattr(self.decode_head, 'ignore_index', IGNORED)
            inputs = pad(inputs, missing)
            data_samples = [padded_sample(sample, missing, ignored) for sample in data_samples]
        return loss(self, inputs, data_samples)

    return loss_whole


def _repair_segmentor(segmentor: type) -> bool:
    wrappers: dict[str, Callable[[Callable], Callable]] = {
        'encode_decode': _with_whole_patches,
        'loss': _with_whole_patches_in_training,
    }
    for name, wrap in wrappers.items():
        if name in vars(segmentor):
            setattr(segmentor, name, wrap(vars(segmentor)[name]))
    return True


def repair_stretched_segmentation() -> bool:
    """Keep edges in place if an image is not a whole number of patches, in training and prediction.

    PlainViT pads such an image below and to the right, and mmseg's heads would squeeze the map of the padded image
    into the image: at 500 pixels and patches of 16, edges at the far side move by 12. Other backbones do not change.
    """
    acted = [when_imported(path, _repair_segmentor) for path in SEGMENTORS]
    return any(acted)
