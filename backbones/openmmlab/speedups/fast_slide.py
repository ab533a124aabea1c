"""Sliding-window inference for mmseg's segmentors that adds scores in place and predicts several windows at once."""

from typing import Any

from torch import Tensor

from backbones.openmmlab.speedups.slide import Windows, slide


class FastWindows:
    """mmseg's EncoderDecoder, but it adds each window's scores in place (mmseg#3666).

    mmseg pads the scores of every window to the whole image before it adds them. ``test_cfg`` has ``crop_size``,
    ``stride`` and an addition to mmseg's, ``window_batch``: the number of windows predicted in one call, 1 by default.
    """

    test_cfg: Any
    encode_decode: Any

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Compute scores (B, K, H, W) of images (B, C, H, W) from overlapping windows."""

        def predict(crops: Tensor) -> Tensor:
            # Heads resize their scores to this size; some read it from the first image's entry, others from each.
            metas = [{**meta, 'img_shape': crops.shape[2:]} for meta in batch_img_metas]
            return self.encode_decode(crops, metas * (len(crops) // len(inputs)))

        windows = Windows(tuple(self.test_cfg.crop_size), tuple(self.test_cfg.stride))
        return slide(predict, inputs, windows, self.test_cfg.get('window_batch', 1))
