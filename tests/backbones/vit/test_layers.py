import copy

import pytest
import torch

from backbones.vit.layers import (
    Attention,
    Block,
    PatchEmbed,
    gather_tokens,
    patches_at,
)
from backbones.vit.windows import window_partition, window_unpartition
from tests.helpers import randomise, relative_error


def test_patch_embed__plain_loop_with_padding():
    embed = randomise(PatchEmbed(patch_size=4, in_channels=2, embed_dim=3))
    images = torch.randn(2, 2, 7, 10)
    maps = embed(images)
    padded = torch.zeros(2, 2, 8, 12)
    padded[:, :, :7, :10] = images
    assert maps.shape == (2, 3, 2, 3)
    for y in range(2):
        for x in range(3):
            patch = padded[:, :, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].flatten(1)
            expected = patch @ embed.proj.weight.flatten(1).t() + embed.proj.bias
            torch.testing.assert_close(maps[:, :, y, x], expected, atol=1e-5, rtol=1e-5)


def test_attention__plain_softmax():
    attention = randomise(Attention(12, 3)).double()
    tokens = torch.randn(2, 5, 12, dtype=torch.float64)
    weight, bias = attention.qkv.weight, attention.qkv.bias
    heads = []
    for head in range(3):
        rows = slice(4 * head, 4 * head + 4)
        q, k, v = (tokens @ weight[12 * i : 12 * i + 12][rows].t() + bias[12 * i : 12 * i + 12][rows] for i in range(3))
        heads.append((q @ k.transpose(1, 2) / 2.0).softmax(-1) @ v)
    expected = torch.cat(heads, -1) @ attention.proj.weight.t() + attention.proj.bias
    torch.testing.assert_close(attention(tokens), expected, atol=1e-12, rtol=1e-12)


def test_attention__bias_is_added_to_the_logits():
    attention = randomise(Attention(6, 2)).double()
    tokens, bias = torch.randn(3, 4, 6, dtype=torch.float64), torch.randn(2, 4, 4, dtype=torch.float64)
    q, k, v = (tokens @ attention.qkv.weight.t() + attention.qkv.bias).split(6, dim=-1)
    heads = []
    for head in range(2):
        part = (..., slice(3 * head, 3 * head + 3))
        logits = q[part] @ k[part].transpose(1, 2) / 3**0.5 + bias[head]
        heads.append(logits.softmax(-1) @ v[part])
    expected = torch.cat(heads, -1) @ attention.proj.weight.t() + attention.proj.bias
    torch.testing.assert_close(attention(tokens, bias=bias), expected, atol=1e-12, rtol=1e-12)


def test_attention__bias_of_keys_changes_nothing():
    # Hence qkv.bias serves BEiT, which has none.
    attention = randomise(Attention(12, 3, table_grid=(2, 2))).double()
    tokens = torch.randn(2, 5, 12, dtype=torch.float64)
    before = attention(tokens, (2, 2))
    before.square().sum().backward()
    query, key, value = attention.qkv.bias.grad.split(12)
    assert key.abs().max() < 1e-12 < 1e-2 < min(query.abs().max(), value.abs().max())
    with torch.no_grad():
        attention.qkv.bias[12:24] += torch.randn(12)
    torch.testing.assert_close(attention(tokens, (2, 2)), before, atol=1e-12, rtol=1e-12)


def test_attention__width_not_divisible():
    with pytest.raises(ValueError, match='10 cannot be split over 3 heads'):
        Attention(10, 3)


def test_window_partition__plain_loop():
    tokens = torch.arange(2 * 5 * 7 * 2, dtype=torch.float32).reshape(2, 35, 2)
    windows = window_partition(tokens, (5, 7), 3)
    padded = torch.zeros(2, 6, 9, 2)
    padded[:, :5, :7] = tokens.reshape(2, 5, 7, 2)
    expected = [
        padded[b, y : y + 3, x : x + 3].reshape(9, 2) for b in range(2) for y in range(0, 6, 3) for x in range(0, 9, 3)
    ]
    torch.testing.assert_close(windows, torch.stack(expected))


@pytest.mark.parametrize('grid', [(5, 7), (3, 6), (1, 2)])
def test_window_unpartition__inverts(grid):
    tokens = torch.randn(2, grid[0] * grid[1], 4)
    torch.testing.assert_close(window_unpartition(window_partition(tokens, grid, 3), grid, 3), tokens)


def test_block__windows_do_not_mix():
    block = randomise(Block(8, 2, window_size=2))
    tokens = torch.randn(1, 4 * 4, 8)
    changed = tokens.clone()
    changed[0, 0] = torch.randn(8)
    difference = (block(changed, (4, 4)) - block(tokens, (4, 4))).abs().sum(-1).reshape(4, 4)
    touched = difference > 1e-6
    assert touched[:2, :2].all()
    assert touched.sum() == 4


def test_block__layer_scale_on_both_branches():
    block = randomise(Block(8, 2, layer_scale=0.1))
    tokens = torch.randn(2, 5, 8)
    middle = tokens + block.gamma_1 * block.attn(block.norm1(tokens))
    torch.testing.assert_close(block(tokens), middle + block.gamma_2 * block.mlp(block.norm2(middle)))
    fresh = Block(8, 2, layer_scale=1e-5)
    assert torch.equal(fresh.gamma_1, torch.full((8,), 1e-5))
    assert torch.equal(fresh.gamma_2, torch.full((8,), 1e-5))


def test_block__drop_path_is_random_in_training_only():
    block = randomise(Block(8, 2, drop_path=0.5))
    tokens = torch.randn(64, 3, 8)
    outputs = [block(tokens) for _ in range(2)]
    assert not torch.equal(*outputs)
    block.eval()
    torch.testing.assert_close(block(tokens), block(tokens))


def test_patches_at__plain_loop():
    images, places = torch.randn(2, 3, 24, 40), torch.tensor([[0, 7, 14], [6, 6, 3]])
    patches = patches_at(images, places, 8)
    for sample, row in enumerate(places.tolist()):
        for index, place in enumerate(row):
            top, left = 8 * (place // 5), 8 * (place % 5)
            assert torch.equal(patches[sample, index], images[sample, :, top : top + 8, left : left + 8])


def test_patch_embed__project_is_the_convolution():
    embed = randomise(PatchEmbed(8, 3, 20)).double()
    images = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    everywhere = torch.arange(6).expand(2, -1)
    expected = embed(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(embed.project(patches_at(images, everywhere, 8)), expected, atol=1e-10, rtol=0)


def test_gather_tokens__the_visible_ones():
    tokens = torch.randn(2, 5, 3)
    index = torch.tensor([[4, 0], [1, 2]])
    gathered = gather_tokens(tokens, index)
    assert gathered.shape == (2, 2, 3)
    for sample, row in enumerate(index.tolist()):
        for place, source in enumerate(row):
            assert torch.equal(gathered[sample, place], tokens[sample, source])


def test_block__forward_at_is_forward_at_these_places():
    """Values and gradients, for places that differ from sample to sample and repeat; B != N != M, with layer scale."""
    block = randomise(Block(24, 4, layer_scale=0.1)).double()
    tokens = torch.randn(3, 11, 24, dtype=torch.float64, requires_grad=True)
    places = torch.tensor([[0, 4, 4, 10], [1, 2, 3, 9], [10, 8, 0, 5]])
    weights = torch.randn(3, 4, 24, dtype=torch.float64)
    inputs = [tokens, *block.parameters()]
    expected = gather_tokens(block(tokens), places)
    actual = block.forward_at(tokens, places)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)
    slopes = [torch.autograd.grad((result * weights).sum(), inputs) for result in (actual, expected)]
    for ours, plain in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-10)


def test_block__forward_at_in_bf16_is_as_near_to_float64():
    block, tokens = randomise(Block(24, 4)), torch.randn(2, 50, 24)
    places = torch.tensor([[0, 4, 40], [1, 2, 49]])
    truth = gather_tokens(copy.deepcopy(block).double()(tokens.double()), places)
    with torch.autocast('cpu', torch.bfloat16):
        ours, plain = block.forward_at(tokens, places), gather_tokens(block(tokens), places)
    assert relative_error(ours.double(), truth) <= 1.05 * relative_error(plain.double(), truth)


@pytest.mark.parametrize('options', [dict(window_size=2), dict(rel_pos_grid=(2, 3)), dict(table_grid=(2, 3))])
def test_block__forward_at_needs_tokens_without_a_grid(options):
    with pytest.raises(AssertionError, match='need every token'):
        Block(24, 4, **options).forward_at(torch.randn(1, 6, 24), torch.tensor([[0]]))
