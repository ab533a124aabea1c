"""UPerHead's inference against mmseg's own (float32, <= 1e-5)."""

import pytest
import torch
from mmseg.models.decode_heads import UPerHead
from mmseg.registry import MODELS
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from backbones.openmmlab.speedups.fast_uper import is_plain
from tests.helpers import randomise, relative_error


def build(align_corners=False, norm_cfg=dict(type='BN'), **settings):  # noqa: B006
    head = dict(type='FastUPerHead', in_channels=[6, 8, 10, 12], in_index=[0, 1, 2, 3], channels=16, num_classes=7)
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
        expected = UPerHead._forward_feature(head, inputs)
        result = head._forward_feature(inputs)
    assert relative_error(result, expected) < 1e-5
    assert not torch.equal(result, expected)


@pytest.mark.parametrize('training', [False, True])
def test_features__gradients_take_upstreams_way(training):
    head, inputs = build(norm_cfg=None).train(training), maps(SIZES['odd'])
    result = head._forward_feature(inputs)
    assert result.requires_grad
    assert torch.equal(result, UPerHead._forward_feature(head, inputs))


def test_features__other_convolutions_take_upstreams_way():
    head, inputs = build(), maps(SIZES['even'])
    assert is_plain(head.fpn_bottleneck)
    plain = head.fpn_bottleneck.conv
    head.fpn_bottleneck.conv = nn.Conv2d(64, 16, 3, padding=1, groups=2, bias=False)
    assert not is_plain(head.fpn_bottleneck)
    with torch.no_grad():
        assert torch.equal(head._forward_feature(inputs), UPerHead._forward_feature(head, inputs))
    head.fpn_bottleneck.conv = plain
    head.fpn_bottleneck.order = ('norm', 'conv', 'act')
    assert not is_plain(head.fpn_bottleneck)


def same_as_upstream(head, inputs):
    """Whether the head takes mmseg's own way, to the last bit."""
    with torch.no_grad():
        return torch.equal(head._forward_feature(inputs), UPerHead._forward_feature(head, inputs))


@pytest.mark.parametrize('part', ['block', 'conv'])
@pytest.mark.parametrize('kind', ['register_forward_hook', 'register_forward_pre_hook'])
def test_features__hooks_are_called(kind, part):
    head, inputs, seen = build(), maps(SIZES['even']), []
    block = head.fpn_bottleneck
    handle = getattr(block if part == 'block' else block.conv, kind)(lambda *args: seen.append(args[1][0].shape))
    assert same_as_upstream(head, inputs)
    # Once by each way; both get the maps side by side.
    assert seen == [(2, 64, 24, 40)] * 2
    handle.remove()
    assert not same_as_upstream(head, inputs)


def test_features__hooks_of_all_modules_are_called():
    head, inputs, seen = build(), maps(SIZES['even']), []
    handle = register_module_forward_hook(lambda module, args, output: seen.append(module))
    try:
        assert same_as_upstream(head, inputs)
    finally:
        handle.remove()
    assert seen.count(head.fpn_bottleneck.conv) == 2
    assert not same_as_upstream(head, inputs)


@pytest.mark.parametrize('norm', [weight_norm, spectral_norm, parametrizations.weight_norm])
def test_features__normed_weights_are_computed_anew(norm):
    head, inputs = build(), maps(SIZES['even'])
    norm(head.fpn_bottleneck.conv)
    with torch.no_grad():
        before = head._forward_feature(inputs)
        for name, parameter in head.fpn_bottleneck.conv.named_parameters():
            if name.endswith(('_v', '_orig', 'original1')):
                parameter.copy_(torch.randn_like(parameter))
    assert same_as_upstream(head, inputs)
    assert relative_error(head._forward_feature(inputs), before) > 0.1


def test_features__replaced_forward_is_called():
    head, inputs = build(), maps(SIZES['even'])
    conv = head.fpn_bottleneck.conv
    conv.forward = lambda x: type(conv).forward(conv, x) + 1
    assert same_as_upstream(head, inputs)


@torch.no_grad()
def test_features__recorded_graphs_are_upstreams():
    head, inputs = build(), maps(SIZES['odd'])
    head.forward = head._forward_feature
    expected, other = UPerHead._forward_feature(head, inputs), maps(SIZES['odd'])
    traced = torch.jit.trace(head, (inputs,), check_trace=False)
    exported = torch.export.export(head, (inputs,)).module()
    for graph in (traced, exported):
        assert relative_error(graph(inputs), expected) < 1e-6
        assert relative_error(graph(other), UPerHead._forward_feature(head, other)) < 1e-6
    # What was recorded convolves the maps side by side, as exporters know it.
    assert 'einsum' not in str(traced.graph)


def test_fusion__in_bfloat16_rounds_as_upstream():
    """Both round each product once: the error against float32 is near 2^-9 times a few, and neither is worse."""
    errors = torch.zeros(2, 8)
    for draw in range(8):
        torch.manual_seed(draw)
        head, inputs = build(), maps(SIZES['even'])
        with torch.no_grad():
            exact = UPerHead._forward_feature(head, inputs)
            with torch.autocast('cpu', torch.bfloat16):
                for row, forward in enumerate((type(head)._forward_feature, UPerHead._forward_feature)):
                    errors[row, draw] = relative_error(forward(head, inputs).float(), exact)
    ours, theirs = errors.mean(1).tolist()

    assert 0 < ours < 1.1 * theirs < 0.05
