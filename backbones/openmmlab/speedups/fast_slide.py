"""Sliding-window inference of mmseg's segmentors, the scores added in place and several windows in one call."""

from typing import Any

from torch import Tensor

from backbones.openmmlab.speedups.slide import Windows, slide


class FastWindows:
    """mmseg's EncoderDecoder, which adds each window's scores where they belong (mmseg#3666).

    mmseg pads the scores of every window to the whole image before it adds them. ``test_cfg`` has ``crop_size``,
    ``stride`` and, beyond mmseg's, ``window_batch``: windows predicted in one call, 1 unless said otherwise.
    """

    test_cfg: Any
    encode_decode: Any

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Scores (B, K, H, W) of images (B, C, H, W) from overlapping windows."""

        def predict(crops: Tensor) -> Tensor:
            # The size the head brings its scores to. Other heads than the first image's read their own.
            metas = [{**meta, 'img_shape': crops.shape[2:]} for meta in batch_img_metas]
            return self.encode_decode(crops, metas * (len(crops) // len(inputs)))

        windows = Windows(tuple(self.test_cfg.crop_size), tuple(self.test_cfg.stride))
        return slide(predict, inputs, windows, self.test_cfg.get('window_batch', 1))
