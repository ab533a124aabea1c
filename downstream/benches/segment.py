"""UperNet on a plain ViT against mmseg's: features, a window, the merge of the windows, an image of many windows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn

from backbones.openmmlab.speedups.slide import Windows, window_boxes
from backbones.vit.variants import VARIANTS
from downstream.benches.claims import Bench, Claim, Finding
from downstream.benches.measure import alternate, check_equal, count_flops, ratio, summary

# Parts of the names in mmseg's MAE and Feature2Pyramid, and our names.
NAMES = {
    'patch_embed.projection': 'patch_embed.proj',
    'layers.': 'blocks.',
    'ln1': 'norm1',
    'ln2': 'norm2',
    'ffn.blocks.0.0': 'mlp.fc1',
    'ffn.blocks.1': 'mlp.fc2',
    'neck.upsample_4x': 'neck.branches.0',
    'neck.upsample_2x.0': 'neck.branches.1',
}
# Parameters without effect in MAE's weights: zeros and ones.
EXTRA = ('gamma_', 'relative_position')
NORM = dict(type='BN')


@dataclass(frozen=True)
class Case:
    """What is run, in float32 on the CPU.

    Attributes:
        variant: key of `VARIANTS`, or sizes.
        channels: width of the UPerHead; BEiT and MAE publish 768 for the base ViT.
        classes: number of classes, from Cityscapes, whose images are 1024 x 2048.
        image: (height, width).
        crop: side of the windows.
        stride: distance from one window to the next.
    """

    variant: str | dict[str, int] = 'base'
    channels: int = 768
    classes: int = 19
    image: tuple[int, int] = (1024, 2048)
    crop: int = 512
    stride: int = 341

    @property
    def sizes(self) -> dict[str, int]:
        """embed_dim, depth, num_heads."""
        return VARIANTS[self.variant] if isinstance(self.variant, str) else self.variant

    @property
    def taps(self) -> list[int]:
        """Blocks that feed the pyramid: [3, 5, 7, 11] as published for the base ViT, else the last of each quarter."""
        depth = self.sizes['depth']
        return [3, 5, 7, 11] if depth == 12 else [depth // 4 * (index + 1) - 1 for index in range(4)]

    @property
    def test_cfg(self) -> dict:
        """Sliding windows in mmseg's format."""
        return dict(mode='slide', crop_size=(self.crop,) * 2, stride=(self.stride,) * 2)

    @property
    def windows(self) -> int:
        """Number of windows in the image."""
        return len(window_boxes(self.image, Windows((self.crop,) * 2, (self.stride,) * 2)))


def build_segmentor(case: Case, backbone: dict, neck: dict, fast: str = '') -> nn.Module:
    """Build an mmseg segmentor with UPerHead; ``fast='Fast'`` takes our configs' versions of both."""
    import mmseg.models  # noqa: F401
    from mmseg.registry import MODELS

    head = dict(
        type=f'{fast}UPerHead',
        in_channels=[case.sizes['embed_dim']] * 4,
        in_index=[0, 1, 2, 3],
        channels=case.channels,
        num_classes=case.classes,
        norm_cfg=NORM,
        align_corners=False,
    )
    parts = dict(backbone=backbone, neck=neck, decode_head=head, test_cfg=case.test_cfg)
    cfg = dict(type=f'{fast}EncoderDecoder', **parts)
    return MODELS.build(ConfigDict(cfg, _scope_='mmseg')).eval()


def build_peer(case: Case) -> nn.Module:
    """Build mmseg's MAE, Feature2Pyramid and UPerHead."""
    width, depth, heads = case.sizes.values()
    sizes = dict(embed_dims=width, num_layers=depth, num_heads=heads, img_size=case.crop, out_indices=case.taps)
    backbone = dict(type='MAE', norm_cfg=dict(type='LN', eps=1e-6), init_values=1.0, **sizes)
    return build_segmentor(case, backbone, dict(type='Feature2Pyramid', embed_dim=width, norm_cfg=NORM))


def build_ours(case: Case, peer: nn.Module) -> nn.Module:
    """Build our ViT, pyramid and inference with the peer's weights."""
    backbone = dict(type='PlainViT', variant=case.variant, img_size=case.crop, out_indices=case.taps)
    neck = dict(type='DeconvPyramid', in_channels=case.sizes['embed_dim'], norm='bn')
    ours = build_segmentor(case, backbone, neck, fast='Fast')
    state = {name: value for name, value in peer.state_dict().items() if not any(word in name for word in EXTRA)}
    for theirs, name in NAMES.items():
        state = {key if 'decode_head' in key else key.replace(theirs, name): value for key, value in state.items()}
    ours.load_state_dict(state)
    return ours


def metas(images: Tensor) -> list[dict]:
    """The meta data of images that mmseg needs."""
    size = tuple(images.shape[2:])
    return [dict(ori_shape=size, img_shape=size, pad_shape=size)] * len(images)


def merges(case: Case) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Our and mmseg's sliding inference with given scores for the windows, so that only cutting and merging remain."""
    from mmseg.models.segmentors import EncoderDecoder

    from backbones.openmmlab.speedups.by_name import class_of

    ours, peer = class_of('FastEncoderDecoder').slide_inference, EncoderDecoder.slide_inference  # type: ignore[attr-defined]
    images = torch.randn(1, 3, *case.image)
    crop = [min(side, case.crop) for side in case.image]
    scores = torch.randn(1, case.classes, *crop)
    model = SimpleNamespace(
        test_cfg=ConfigDict(case.test_cfg),
        out_channels=case.classes,
        encode_decode=lambda crops, _: scores[: len(crops)],
    )
    return lambda: ours(model, images, metas(images)), lambda: peer(model, images, metas(images))


def time_merge(case: Case, seconds: float) -> tuple[dict[str, list[float]], dict]:
    """Wall seconds of both merges, and the detail."""
    ours, peer = merges(case)
    detail = {'difference': check_equal(ours(), peer(), 1e-5, 'merged scores')}
    taken = alternate({'ours': ours, 'peer': peer}, seconds)
    detail |= {name: summary(values) for name, values in taken.items()}
    return taken, detail | {'windows': case.windows, 'classes': case.classes, 'image': list(case.image)}


@torch.no_grad()
def run_slide(case: Case, seconds: float) -> Sequence[Finding]:
    """Time of an image in windows, and of merging the windows.

    One window and the merge are timed. The time of the image is computed from these, because the windows differ only in
    their pixels.
    """
    merged, merge_detail = time_merge(case, seconds / 4)
    peer = build_peer(case)
    ours = build_ours(case, peer)
    crop = torch.randn(1, 3, case.crop, case.crop)
    runs = {name: partial(net.encode_decode, crop, metas(crop)) for name, net in (('ours', ours), ('peer', peer))}
    detail = {'difference': check_equal(runs['ours'](), runs['peer'](), 1e-4, 'logits of a window')}
    window = alternate(runs, seconds / 2)
    whole = {
        name: [case.windows * summary(window[name])['median_s'] + summary(merged[name])['median_s']] for name in runs
    }
    detail |= {name: {'image_s': round(whole[name][0], 3), 'window': summary(window[name])} for name in runs}
    detail |= {
        'windows': case.windows,
        'channels': case.channels,
        'classes': case.classes,
        'gflops_of_a_window': {name: round(count_flops(run) / 1e9, 3) for name, run in runs.items()},
        'how': 'one window and the merge of all are timed; image_s = windows x window + merge',
    }
    return [(ratio(whole), detail), (ratio(merged), merge_detail)]


@torch.no_grad()
def run_features(case: Case, seconds: float) -> Sequence[Finding]:
    """Time of the ViT and its pyramid."""
    peer = build_peer(case)
    ours = build_ours(case, peer)
    images = torch.randn(1, 3, case.crop, case.crop)
    pairs = list(zip(ours.extract_feat(images), peer.extract_feat(images), strict=True))
    detail = {'difference': max(check_equal(a, e, 1e-4, 'maps of the pyramid') for a, e in pairs)}
    runs = {name: partial(net.extract_feat, images) for name, net in (('ours', ours), ('peer', peer))}
    taken = alternate(runs, seconds)
    detail |= {name: summary(values) for name, values in taken.items()}
    return [(ratio(taken), detail | {'image': [case.crop] * 2, 'batch': 1})]


BENCHES = (
    Bench(
        (Claim('MAE-B + pyramid 512 px, forward', 'mmseg MAE + Feature2Pyramid', 'cpu', '<= 0.78 x time'),),
        partial(run_features, Case()),
        needs=('mmseg',),
    ),
    Bench(
        (
            Claim('UperNet ViT-B sliding-window inference 1024x2048', 'mmseg', 'cpu', '<= 0.88 x time'),
            Claim('merge of the windows alone', 'mmseg', 'cpu', '<= 0.25 x time'),
        ),
        partial(run_slide, Case()),
        share=3.0,
        needs=('mmseg',),
    ),
)
