"""Every way to attend against softmax(s q k + bias) v written out: float64 <= 1e-10, float32 <= 1e-5, gradients too."""

import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from backbones import PlainViT
from backbones.vit import attention_chunked as attend_chunked
from backbones.vit.attention import WAYS, attend, choose_way, folded_width
from tests.helpers import relative_error

GRIDS = [(4, 4), (3, 5), (7, 2)]


def written_out(query, key, value, along_h, along_w):
    """Oracle: the whole bias by a loop over the keys."""
    width = along_w.shape[-1]
    logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    columns = [logits[..., k] + along_h[..., k // width] + along_w[..., k % width] for k in range(key.shape[2])]
    return torch.stack(columns, -1).softmax(-1) @ value


def inputs_of(grid, dtype=torch.float64, head_dim=8):
    shapes = [head_dim] * 3 + list(grid)
    return [torch.randn(2, 3, grid[0] * grid[1], size).to(dtype).requires_grad_() for size in shapes]


def run(function, inputs):
    """Output and gradients of a random functional."""
    out = function(*inputs)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    return [out, *torch.autograd.grad((out * weights).sum(), inputs)]


def by(way):
    return lambda query, key, value, *along: attend(query, key, value, along, way)


@pytest.mark.parametrize('part', [2**20, 40, 1], ids=['one part', 'several groups or rows', 'a query each'])
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('way', WAYS)
def test_attend__written_out(way, grid, dtype, tolerance, part, monkeypatch):
    monkeypatch.setattr(attend_chunked, 'PART', part)
    inputs = inputs_of(grid, dtype)
    for actual, expected in zip(run(by(way), inputs), run(written_out, inputs), strict=True):
        assert relative_error(actual, expected) < tolerance


@pytest.mark.parametrize('way', ['fold', 'chunk'])
def test_attend__bf16_errs_no_more_than_the_bias(way):
    exact = inputs_of((6, 9), torch.bfloat16, head_dim=16)
    truth = run(written_out, [x.detach().double().requires_grad_() for x in exact])
    errors = {
        w: [(a.double() - t).norm() / t.norm() for a, t in zip(run(by(w), exact), truth, strict=True)]
        for w in (way, 'bias')
    }
    # Output and gradients.
    assert all(ours <= plain for ours, plain in zip(errors[way], errors['bias'], strict=True)), errors


def test_attend__autocast_keeps_the_parts_exact():
    inputs = inputs_of((3, 5), torch.float32)
    with torch.autocast('cpu', torch.bfloat16):
        inside = run(by('chunk'), inputs)
    for actual, expected in zip(inside, run(by('chunk'), inputs), strict=True):
        assert torch.equal(actual, expected)


def views_of(batch, grid, head_dim=8, heads=3):
    """Query, key and value as `Attention` has them, views of one tensor, and the terms along both axes."""
    length = grid[0] * grid[1]
    joint = torch.randn(batch, length, 3, heads, head_dim, dtype=torch.float64)
    along = [torch.randn(batch, heads, length, size, dtype=torch.float64) for size in grid]
    return [x.requires_grad_() for x in (*joint.permute(2, 0, 3, 1, 4).unbind(0), *along)]


@pytest.mark.parametrize('batch', [1, 2])
def test_chunked_attention__operator_is_sound(batch):
    """Strides as promised to `torch.compile`, of views too; of one sample `reshape` copies nothing."""
    inputs = views_of(batch, (2, 3))
    torch.library.opcheck(attend_chunked.chunked_attention, inputs)
    out = attend_chunked.chunked_attention(*inputs).detach()
    torch.library.opcheck(
        attend_chunked.chunked_attention_backward,
        (torch.ones_like(out), *(x.detach() for x in inputs), out),
        test_utils=('test_schema', 'test_faketensor'),
    )


class Calls(TorchFunctionMode):
    """Notes the head width and the mask of every call of PyTorch's attention, and every part of ours."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            mask = kwargs.get('attn_mask')
            self.seen.append((args[0].shape[-1], None if mask is None else tuple(mask.shape)))
        return func(*args, **kwargs)


@pytest.mark.parametrize(
    ('way', 'window', 'image'),
    [
        ('bias', (12, (8, 2, 4, 4)), (12, (2, 2, 15, 15))),
        ('fold', (16, None), (24, None)),
        ('chunk', None, None),
        ('auto', None, None),
    ],
)
def test_attention_option__changes_what_runs(way, window, image):
    sizes = dict(embed_dim=24, depth=2, num_heads=2)
    model = PlainViT(sizes, 40, 8, window_size=2, global_blocks=(1,), rel_pos='decomposed', attention=way)
    with Calls() as calls:
        model(torch.randn(2, 3, 40, 24))
    expected = [] if window is None else [(window[0], window[1] and (2 * 6, *window[1][1:])), image]
    assert calls.seen == expected


def test_attend__fold_too_wide_for_flash_takes_the_bias():
    assert (folded_width(240, (4, 5)), folded_width(250, (4, 5))) == (256, 264)
    for head_dim, masked in ((240, False), (250, True)):
        inputs = inputs_of((4, 5), head_dim=head_dim)
        with Calls() as calls:
            by('fold')(*inputs)
        assert [mask is not None for _, mask in calls.seen] == [masked]


def test_chunked_attention__saves_its_inputs_and_output_only():
    inputs, sizes = inputs_of((5, 6)), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.shape[-1]), t)[1], lambda t: t):
        by('chunk')(*inputs)
    assert sorted(sizes) == [5, 6, 8, 8, 8, 8]


def test_chunked_attention__counted_by_the_flop_counter():
    inputs = inputs_of((5, 6))
    with FlopCounterMode(display=False) as counter:
        by('chunk')(*inputs).sum().backward()
    # Two products of (2, 3) heads, 30 queries, 30 keys, 8 channels; four in the backward pass.
    assert counter.get_total_flops() == (2 + 4) * 2 * (2 * 3) * 30 * 30 * 8


@pytest.mark.parametrize(
    ('device', 'grid', 'expected'),
    [('cpu', (64, 64), 'chunk'), ('cpu', (14, 14), 'chunk'), ('cuda', (64, 64), 'fold'), ('cuda', (14, 14), 'bias'),
     ('cuda', (96, 96), 'fold'), ('cuda', (97, 96), 'bias')],
)  # fmt: skip
def test_choose_way__literal(device, grid, expected):
    assert choose_way(device, 64, grid) == expected
