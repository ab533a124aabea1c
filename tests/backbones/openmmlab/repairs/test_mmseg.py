"""Edges of a segmentation stay where they are on images that are no whole number of patches."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData

from backbones import PlainViT
from backbones.openmmlab.repairs.mmseg import missing_pixels

PATCH = 16
# Each side short of whole patches by 12, 15, 4 or 1 pixels, or whole; H is never W. Edges lie in the last patches.
SIZES = [(100, 500), (497, 84), (64, 79)]
MODES = {
    'whole': dict(mode='whole'),
    'slide': dict(mode='slide', crop_size=(64, 64), stride=(43, 43)),
    'odd windows': dict(mode='slide', crop_size=(70, 90), stride=(31, 40)),
    'image smaller than the window': dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
}


def segmentor(mode, kind='EncoderDecoder', **settings):
    """The ViT gives the mean of each patch's first channel, the head takes what is above 0 for class 1."""
    import mmseg.models  # noqa: F401

    head = dict(type='FCNHead', in_channels=8, channels=8, num_convs=0, concat_input=False, num_classes=2,
                dropout_ratio=0, align_corners=False, in_index=0)  # fmt: skip
    backbone = dict(type='PlainViT', variant=dict(embed_dim=8, depth=1, num_heads=1), img_size=64)
    preprocessor = dict(type='SegDataPreProcessor', **settings)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(
            dict(type=kind, backbone=backbone, decode_head=head, data_preprocessor=preprocessor,
                 train_cfg=dict(), test_cfg=ConfigDict(mode))
        )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.backbone.patch_embed.proj.weight[0, 0] = 1 / PATCH**2
        model.decode_head.conv_seg.weight[1, 0] = 1.0
    return model.eval()


def picture(size, edge, axis):
    """(3, H, W): one from the edge on, minus one before it; the padding, zero, takes no side."""
    image = torch.full((3, *size), -1.0)
    image.narrow(1 + axis, edge, size[axis] - edge).fill_(1.0)
    return image


def sample(image, labels=None):
    from mmseg.structures import SegDataSample

    size = tuple(image.shape[1:])
    sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, scale_factor=(1.0, 1.0)))
    if labels is not None:
        sample.gt_sem_seg = PixelData(data=labels[None])
    return sample


def found_edge(classes, axis):
    """Place of the only change from 0 to 1 along the axis, the same in every line."""
    counts = (1 - classes).sum(axis)
    assert (classes.diff(dim=axis) >= 0).all() and counts.min() == counts.max()
    return counts.flatten()[0].item()


@pytest.mark.parametrize('axis', [0, 1], ids=['down', 'across'])
@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('kind', ['EncoderDecoder', 'FastEncoderDecoder'])
@pytest.mark.parametrize('mode', MODES)
def test_predict__edge_stays(mode, kind, size, axis):
    edge = size[axis] - 2 * PATCH
    image = picture(size, edge, axis)
    model = segmentor(MODES[mode], kind)
    with torch.no_grad():
        data = model.data_preprocessor(dict(inputs=[image], data_samples=[sample(image)]))
        (prediction,) = model(**data, mode='predict')
    assert prediction.pred_sem_seg.data.shape == (1, *size)
    # A patch's mean tells the place within it to a few pixels; windows have patches at other places.
    assert abs(found_edge(prediction.pred_sem_seg.data[0], axis) - edge) <= 3


def test_predict__without_samples_and_padded_by_the_preprocessor():
    image = picture((100, 84), 52, 1)
    padded = segmentor(MODES['whole'], test_cfg=dict(size_divisor=32))
    with torch.no_grad():
        data = padded.data_preprocessor(dict(inputs=[image], data_samples=[sample(image)]))
        assert data['inputs'].shape[2:] == (128, 96)
        (by_preprocessor,) = padded(**data, mode='predict')
        (alone,) = segmentor(MODES['whole'])(image[None], mode='predict')
    assert alone.pred_sem_seg.data.shape == (1, 100, 84)
    assert torch.equal(alone.pred_sem_seg.data, by_preprocessor.pred_sem_seg.data)
    torch.testing.assert_close(alone.seg_logits.data, by_preprocessor.seg_logits.data)


def test_loss__that_of_whole_patches_whose_rest_does_not_count():
    """Crops of 50 x 84: the loss of crops of 64 x 96 filled with pixels that do not count; the samples stay."""
    model = segmentor(MODES['whole']).train()
    image = torch.randn(3, 50, 84)
    labels = torch.randint(2, (50, 84))
    wide_image, wide_labels = torch.zeros(3, 64, 96), torch.full((64, 96), 255)
    wide_image[:, :50, :84], wide_labels[:50, :84] = image, labels
    odd, wide = sample(image, labels), sample(wide_image, wide_labels)
    before = copy.deepcopy(odd)
    losses = [model.loss(image[None], [odd]) for _ in range(2)]
    expected = model.loss(wide_image[None], [wide])
    for loss in losses:
        torch.testing.assert_close(loss, expected)
    assert torch.equal(odd.gt_sem_seg.data, before.gt_sem_seg.data) and odd.metainfo == before.metainfo


def test_missing_pixels__of_our_backbone_only():
    assert missing_pixels(PlainViT(dict(embed_dim=8, depth=1, num_heads=1)), (500, 512)) == (12, 0)
    assert missing_pixels(torch.nn.Conv2d(3, 8, 16, 16), (500, 512)) == (0, 0)
