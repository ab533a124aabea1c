"""Sliding-window inference of mmseg's segmentors."""

import functools

from mmengine.model import BaseModel
from torch import Tensor

from backbones.openmmlab.repairs_rebind import when_registered
from backbones.slide import Windows, slide

SEGMENTOR = 'mmseg.models.segmentors.encoder_decoder.EncoderDecoder'


def slide_inference(self: BaseModel, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
    """Scores (B, K, H, W) of images (B, C, H, W) from overlapping windows.

    ``test_cfg`` has ``crop_size``, ``stride`` and, beyond mmseg's, ``window_batch``: windows predicted in one call, 1
    unless said otherwise.
    """

    def predict(crops: Tensor) -> Tensor:
        # The size the head brings its scores to. Other heads than the first image's read their own.
        metas = [{**meta, 'img_shape': crops.shape[2:]} for meta in batch_img_metas]
        return self.encode_decode(crops, metas * (len(crops) // len(inputs)))

    windows = Windows(tuple(self.test_cfg.crop_size), tuple(self.test_cfg.stride))
    return slide(predict, inputs, windows, self.test_cfg.get('window_batch', 1))


def _repair_segmentor(segmentor: type) -> None:
    original = segmentor.slide_inference  # type: ignore[attr-defined]
    if 'pad' in original.__code__.co_names:
        segmentor.slide_inference = functools.wraps(original)(slide_inference)  # type: ignore[attr-defined]


def repair_slide_inference() -> None:
    """Add each window's scores where they belong (mmseg#3666), and predict several windows in one call if told so.

    mmseg pads the scores of every window to the whole image before it adds them.
    """
    when_registered(SEGMENTOR, _repair_segmentor)
