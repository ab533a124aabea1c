"""UPerHead's inference against mmseg's own (float32, <= 1e-5)."""

import pytest
import torch
from mmseg.models.decode_heads import UPerHead
from mmseg.registry import MODELS
from torch import nn

from backbones.openmmlab.repairs_uper import is_plain
from tests.helpers import randomise, relative_error


def build(align_corners=False, norm_cfg=dict(type='BN'), **settings):  # noqa: B006
    head = dict(type='UPerHead', in_channels=[6, 8, 10, 12], in_index=[0, 1, 2, 3], channels=16, num_classes=7)
    settings |= dict(align_corners=align_corners, norm_cfg=norm_cfg)
    return randomise(MODELS.build({**head, **settings})).eval()


def maps(sizes):
    return [torch.randn(2, width, *size) for width, size in zip((6, 8, 10, 12), sizes, strict=True)]


SIZES = {'even': [(24, 40), (12, 20), (6, 10), (3, 5)], 'odd': [(23, 41), (12, 21), (6, 11), (3, 5)]}


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('sizes', sorted(SIZES))
@pytest.mark.parametrize('norm_cfg', [dict(type='BN'), None], ids=['bn', 'no norm'])
def test_features__as_upstream(norm_cfg, sizes, align_corners):
    head, inputs = build(align_corners, norm_cfg), maps(SIZES[sizes])
    with torch.no_grad():
        expected = UPerHead._forward_feature.__wrapped__(head, inputs)
        result = head._forward_feature(inputs)
    assert relative_error(result, expected) < 1e-5
    assert not torch.equal(result, expected)


@pytest.mark.parametrize('training', [False, True])
def test_features__gradients_take_upstreams_way(training):
    head, inputs = build(norm_cfg=None).train(training), maps(SIZES['odd'])
    result = head._forward_feature(inputs)
    assert result.requires_grad
    assert torch.equal(result, UPerHead._forward_feature.__wrapped__(head, inputs))


def test_features__other_convolutions_take_upstreams_way():
    head, inputs = build(), maps(SIZES['even'])
    assert is_plain(head.fpn_bottleneck)
    plain = head.fpn_bottleneck.conv
    head.fpn_bottleneck.conv = nn.Conv2d(64, 16, 3, padding=1, groups=2, bias=False)
    assert not is_plain(head.fpn_bottleneck)
    with torch.no_grad():
        assert torch.equal(head._forward_feature(inputs), UPerHead._forward_feature.__wrapped__(head, inputs))
    head.fpn_bottleneck.conv = plain
    head.fpn_bottleneck.order = ('norm', 'conv', 'act')
    assert not is_plain(head.fpn_bottleneck)


def test_fusion__in_bfloat16_no_worse_than_upstream():
    head, inputs = build(), maps(SIZES['even'])
    with torch.no_grad():
        exact = UPerHead._forward_feature.__wrapped__(head, inputs)
        with torch.autocast('cpu', torch.bfloat16):
            errors = [
                relative_error(forward(head, inputs).float(), exact)
                for forward in (UPerHead._forward_feature, UPerHead._forward_feature.__wrapped__)
            ]
    assert errors[0] < 1.5 * errors[1] < 0.1
