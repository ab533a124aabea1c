import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS

from backbones import VARIANTS, PlainViT, vit
from backbones.vit.rel_pos_table import resample_table
from tests.helpers import random_functional, randomise, relative_error

TOY = dict(embed_dim=24, depth=3, num_heads=2)

BLOCK_KEYS = [
    f'{part}.{kind}'
    for part in ('norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2')
    for kind in ('weight', 'bias')
]


def toy(**options):
    return randomise(PlainViT(TOY, img_size=32, patch_size=8, **options))


def test_variants__sizes_of_the_papers():
    # Parameters in millions without head: DeiT-Ti 5.5, DeiT-S 21.7, ViT-B 85.8, ViT-L 303.3, ViT-H/14 630.8
    expected = {'tiny': 5.5, 'small': 21.7, 'base': 85.8, 'large': 303.3, 'huge': 630.8}
    with torch.device('meta'):
        for name in VARIANTS:
            model = PlainViT(name, patch_size=14 if name == 'huge' else 16, out_norm=True)
            millions = sum(p.numel() for p in model.parameters()) / 1e6
            assert round(millions, 1) == expected[name]


def test_plain_vit__state_dict_keys_are_mae_and_timm_names():
    expected = ['cls_token', 'pos_embed', 'patch_embed.proj.weight', 'patch_embed.proj.bias']
    expected += [f'blocks.{i}.{key}' for i in range(3) for key in BLOCK_KEYS]
    expected += ['norm.weight', 'norm.bias']
    assert list(toy(out_norm=True).state_dict()) == expected


def test_plain_vit__keys_with_windows():
    keys = set(toy(window_size=2, rel_pos='decomposed').state_dict())
    assert 'cls_token' not in keys
    assert {f'blocks.{i}.attn.rel_pos_{axis}' for i in range(3) for axis in 'hw'} < keys


def test_plain_vit__found_in_the_root_registry():
    assert MODELS.get('PlainViT') is PlainViT
    assert issubclass(PlainViT, vit.PlainViT)


@pytest.mark.parametrize(('height', 'width'), [(32, 32), (40, 24), (33, 50)])
def test_forward__embed_then_encode(height, width):
    model = toy(out_norm=True).eval()
    images = torch.randn(2, 3, height, width)
    rows, columns = -(-height // 8), -(-width // 8)
    tokens = model.encode(model.embed(images))
    assert tokens.shape == (2, 1 + rows * columns, 24)
    (maps,) = model(images)
    torch.testing.assert_close(maps, tokens[:, 1:].transpose(1, 2).reshape(2, 24, rows, columns))


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize('size', [(32, 32), (24, 56)])
def test_embed_at__values_and_gradients_of_embed(dtype, tolerance, size):
    model = randomise(PlainViT(TOY, img_size=32, patch_size=8)).to(dtype)
    images = torch.randn(3, 3, *size, dtype=dtype)
    places = torch.rand(3, size[0] * size[1] // 64).argsort(1)[:, :5]
    results = []
    for tokens in (model.embed_at(images, places), model.embed(images)[torch.arange(3)[:, None], places]):
        model.zero_grad()
        random_functional((tokens,)).backward()
        slopes = [p.grad for p in (model.patch_embed.proj.weight, model.patch_embed.proj.bias, model.pos_embed)]
        results.append((tokens, *slopes))
    assert max(relative_error(a, e) for a, e in zip(*results, strict=True)) < tolerance


def test_embed_at__no_worse_than_embed_in_bfloat16():
    model = randomise(PlainViT(TOY, img_size=32, patch_size=8))
    images, places = torch.randn(3, 3, 32, 32), torch.rand(3, 16).argsort(1)[:, :5]
    exact = model.embed_at(images, places)
    with torch.autocast('cpu', torch.bfloat16):
        fast, plain = model.embed_at(images, places), model.embed(images)[torch.arange(3)[:, None], places]
    assert fast.dtype == torch.float32
    assert relative_error(fast, exact) <= 1.01 * relative_error(plain, exact)


def test_embed_at__wrong_channels():
    with pytest.raises(ValueError, match=r'takes images \(B, 3, H, W\), got \(1, 4, 32, 32\)'):
        PlainViT(TOY, img_size=32, patch_size=8).embed_at(torch.zeros(1, 4, 32, 32), torch.zeros(1, 2).long())


def test_forward__padding_equals_a_padded_image():
    model = toy().eval()
    images = torch.randn(2, 3, 33, 50)
    padded = F.pad(images, (0, 6, 0, 7))
    torch.testing.assert_close(model(images)[0], model(padded)[0])


def test_forward__out_indices_in_the_order_asked():
    images = torch.randn(2, 3, 32, 24)
    maps = toy(out_indices=(-1, 0)).eval()(images)
    first, last = toy(out_indices=(0,)).eval()(images)[0], toy(out_indices=(2,)).eval()(images)[0]
    torch.testing.assert_close(maps, (last, first))


def test_forward__out_norm_applies_to_every_map():
    images = torch.randn(2, 3, 32, 24)
    plain, normed = toy(out_indices=(0, 2)), toy(out_indices=(0, 2), out_norm=True)
    normed.load_state_dict(plain.state_dict(), strict=False)
    for raw, result in zip(plain(images), normed(images), strict=True):
        expected = F.layer_norm(raw.permute(0, 2, 3, 1), (24,), normed.norm.weight, normed.norm.bias, 1e-6)
        torch.testing.assert_close(result.permute(0, 2, 3, 1), expected)


def test_encode__order_of_tokens_does_not_matter():
    model = toy().eval()
    tokens = model.embed(torch.randn(2, 3, 32, 40))
    order = torch.randperm(tokens.shape[1])[:7]
    kept = model.encode(tokens[:, order])
    again = model.encode(tokens[:, order.flip(0)])
    torch.testing.assert_close(again[:, 1:].flip(1), kept[:, 1:])
    torch.testing.assert_close(again[:, 0], kept[:, 0])


def test_encode__windows_need_the_grid():
    model = toy(window_size=2)
    tokens = model.embed(torch.randn(1, 3, 32, 24))
    with pytest.raises(ValueError, match='got grid=None for 12 tokens'):
        model.encode(tokens)
    with pytest.raises(ValueError, match=r'grid=\(4, 4\) for 12 tokens'):
        model.encode(tokens, (4, 4))
    assert model.encode(tokens, (4, 3)).shape == (1, 12, 24)


def test_global_blocks__see_the_whole_image():
    images, changed = torch.randn(1, 3, 64, 64), None
    changed = images.clone()
    changed[..., :8, :8] += 1.0
    local, spread = toy(window_size=2).eval(), toy(window_size=2, global_blocks=(-1,)).eval()
    far = (..., slice(4, None), slice(4, None))
    assert torch.equal(local(images)[0][far], local(changed)[0][far])
    assert not torch.equal(spread(images)[0][far], spread(changed)[0][far])


def test_rel_pos__zero_tables_change_nothing_random_ones_do():
    model, images = toy(rel_pos='decomposed').eval(), torch.randn(2, 3, 40, 24)
    with_tables = model(images)[0]
    for name, parameter in model.named_parameters():
        if 'rel_pos' in name:
            torch.nn.init.zeros_(parameter)
    assert not torch.allclose(model(images)[0], with_tables, atol=1e-3)
    fresh = PlainViT(TOY, img_size=32, patch_size=8, rel_pos='decomposed')
    assert all(not p.any() for n, p in fresh.named_parameters() if 'rel_pos' in n)


BEIT = dict(rel_pos='table', layer_scale=0.1, use_abs_pos=False)
SHARED = BEIT | dict(rel_pos='shared_table')
TABLE = 'relative_position_bias_table'


def test_rel_pos__keys_of_beit():
    expected = ['cls_token', 'patch_embed.proj.weight', 'patch_embed.proj.bias']
    block = ['gamma_1', 'gamma_2', *BLOCK_KEYS]
    shared = toy(**SHARED).state_dict()
    blocks = [f'blocks.{i}.{key}' for i in range(3) for key in block]
    assert set(shared) == {*expected, *blocks, f'rel_pos_bias.{TABLE}'}
    state = toy(**BEIT).state_dict()
    assert set(state) == {*expected, *blocks, *(f'blocks.{i}.attn.{TABLE}' for i in range(3))}
    assert state[f'blocks.0.attn.{TABLE}'].shape == shared[f'rel_pos_bias.{TABLE}'].shape == (7 * 7 + 3, 2)


def test_rel_pos__one_table_for_all_equals_equal_tables():
    shared, own = toy(**SHARED).eval(), toy(**BEIT).eval()
    state = shared.state_dict()
    table = state.pop(f'rel_pos_bias.{TABLE}')
    own.load_state_dict(state | {f'blocks.{i}.attn.{TABLE}': table for i in range(3)})
    for size in ((32, 32), (24, 48)):
        images = torch.randn(2, 3, *size)
        torch.testing.assert_close(shared(images), own(images))
    assert not torch.equal(shared(images)[0], toy(**BEIT).eval()(images)[0])


@pytest.mark.parametrize('options', [BEIT, SHARED, BEIT | dict(use_abs_pos=True)])
def test_rel_pos__table_in_another_grid(options):
    model = toy(**options).eval()
    images = torch.randn(2, 3, 40, 20)
    (maps,) = model(images)
    tokens = model.encode(model.embed(images), (5, 3))
    assert tokens.shape == (2, 1 + 15, 24)
    torch.testing.assert_close(maps, tokens[:, 1:].transpose(1, 2).reshape(2, 24, 5, 3))
    # The resampled table in a model of that size.
    own = PlainViT(TOY, img_size=(40, 20), patch_size=8, pretrain_img_size=32, **options).eval()
    state = model.state_dict()
    own.load_state_dict({n: resample_table(v, (4, 4), (5, 3)) if TABLE in n else v for n, v in state.items()})
    torch.testing.assert_close(own(images)[0], maps)


@pytest.mark.parametrize('options', [BEIT, SHARED])
def test_rel_pos__table_compiles_in_one_graph(options):
    model = toy(**options).eval()
    images = torch.randn(1, 3, 40, 24)
    compiled = torch.compile(model, backend='eager', fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(images), model(images))
    torch.compiler.reset()


def test_rel_pos__table_alone_tells_places_apart():
    images = torch.randn(1, 3, 32, 32)
    model = toy(**BEIT).eval()
    mirrored = model(images.flip(3))[0].flip(3)
    assert relative_error(mirrored, model(images)[0]) > 1e-2


@pytest.mark.parametrize('options', [BEIT, SHARED])
def test_encode__a_part_of_the_tokens_has_no_relative_positions(options):
    model = toy(**options)
    tokens = model.embed(torch.randn(1, 3, 32, 24))
    with pytest.raises(ValueError, match=r'need every token and its place: got grid=\(4, 3\) for 7 tokens'):
        model.encode(tokens[:, :7], (4, 3))
    with pytest.raises(ValueError, match='got grid=None for 12 tokens'):
        model.encode(tokens)


def test_layer_scale__with_absolute_positions_drops_tokens_as_ever():
    model = toy(layer_scale=0.1).eval()
    tokens = model.embed(torch.randn(2, 3, 32, 40))
    assert model.encode(tokens[:, :7]).shape == (2, 8, 24)
    assert {name for name, _ in model.named_parameters()} > {'pos_embed', 'blocks.2.gamma_2'}


def test_frozen_blocks__shared_table_is_a_part_of_them():
    trainable = {name for name, p in toy(frozen_blocks=1, **SHARED).named_parameters() if p.requires_grad}
    assert f'rel_pos_bias.{TABLE}' not in trainable
    assert 'blocks.0.gamma_1' not in trainable
    assert 'blocks.1.gamma_1' in trainable


def test_table__in_windows_without_class_token():
    """One bias per offset inside the window, by a plain loop."""
    model = toy(rel_pos='table', window_size=2, global_blocks=(-1,))
    for block in model.blocks:
        torch.nn.init.normal_(block.attn.relative_position_bias_table)
    assert model.num_prefix_tokens == 0
    assert 'cls_token' not in model.state_dict()
    rows = [len(block.attn.relative_position_bias_table) for block in model.blocks]
    assert rows == [3 * 3 + 3, 3 * 3 + 3, 7 * 7 + 3]

    attention, tokens = model.blocks[0].attn, torch.randn(5, 4, 24)
    query, key, value = attention.qkv(tokens).reshape(5, 4, 3, 2, 12).permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-1, -2) / 12**0.5
    for q in range(4):
        for k in range(4):
            row = (q // 2 - k // 2 + 1) * 3 + q % 2 - k % 2 + 1
            scores[:, :, q, k] += attention.relative_position_bias_table[row]
    expected = attention.proj((scores.softmax(-1) @ value).transpose(1, 2).reshape(5, 4, 24))
    torch.testing.assert_close(attention(tokens, (2, 2)), expected)
    assert model(torch.randn(2, 3, 32, 48))[0].shape == (2, 24, 4, 6)


def test_pretrain_img_size__sizes_the_position_table():
    model = PlainViT(TOY, img_size=(64, 48), patch_size=8, pretrain_img_size=32, rel_pos='decomposed')
    assert model.pos_embed.shape == (1, 1 + 16, 24)
    assert model.blocks[0].attn.rel_pos_h.shape == (2 * 8 - 1, 12)
    assert model.blocks[0].attn.rel_pos_w.shape == (2 * 6 - 1, 12)


def test_in_channels__five_bands():
    model = toy(in_channels=5).eval()
    images = torch.randn(2, 5, 32, 32)
    changed = images.clone()
    changed[:, 4] += 1.0
    assert not torch.allclose(model(images)[0], model(changed)[0])
    with pytest.raises(ValueError, match=r'takes images \(B, 5, H, W\), got \(2, 3, 32, 32\)'):
        model(torch.randn(2, 3, 32, 32))


def test_drop_path_rate__grows_linearly():
    model = PlainViT(TOY, drop_path_rate=0.2)
    assert [block.drop_path.drop_prob for block in model.blocks] == [0.0, 0.1, 0.2]


@pytest.mark.parametrize('options', [{}, BEIT, SHARED])
def test_act_checkpoint__same_values_and_gradients_less_saved(options):
    images = torch.randn(2, 3, 40, 24)
    saved, gradients = [], []
    for act_checkpoint in (False, True):
        model = toy(act_checkpoint=act_checkpoint, **options)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: (s.append(t.numel()), t)[1], lambda t: t):
            loss = random_functional(model(images))
        loss.backward()
        saved.append(sum(sizes))
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert relative_error(gradients[1], gradients[0]) < 1e-6
    assert saved[1] < 0.5 * saved[0]


def test_frozen_blocks__no_gradient_and_no_randomness():
    model = toy(frozen_blocks=2, drop_path_rate=0.5).train()
    trainable = {name.split('.')[1] for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {'2'}
    assert not model.blocks[1].training
    assert model.blocks[2].training
    assert model.eval() is model


def test_param_depth__literal():
    model = PlainViT(TOY)
    depths = {
        'cls_token': 0,
        'pos_embed': 0,
        'patch_embed.proj.weight': 0,
        # At the full rate, as in BEiT's optim_factory.
        'rel_pos_bias.relative_position_bias_table': 4,
        'blocks.0.norm1.weight': 1,
        'blocks.1.gamma_1': 2,
        'blocks.1.attn.relative_position_bias_table': 2,
        'blocks.2.mlp.fc2.bias': 3,
        'norm.weight': 4,
    }
    assert {name: model.param_depth(name) for name in depths} == depths


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(variant='giant'), "variant='giant' is unknown"),
        (dict(variant=dict(embed_dim=8, depth=1)), 'exactly the keys'),
        (dict(rel_pos='learned'), "rel_pos='learned' is unknown"),
        (dict(rel_pos='shared_table', window_size=7), r"window_size=7 needs its own: use rel_pos='table'"),
        (dict(use_abs_pos=False), 'use_abs_pos=False leaves no positions at all'),
        (dict(window_abs_pos=True), 'but window_size=0 and use_abs_pos=True: set both'),
        (dict(attention='flex'), "attention='flex' is unknown: use 'auto', 'bias', 'fold', 'chunk'"),
        (dict(layer_scale=0.0), 'layer_scale=0.0 would silence the branches'),
        (dict(out_indices=(12,)), 'out_indices names block 12, but the model has 12 blocks'),
        (dict(window_size=2, global_blocks=(99,)), 'global_blocks names block 99'),
        (dict(frozen_blocks=13), 'frozen_blocks=13 is outside 0..12'),
    ],
)
def test_plain_vit__wrong_argument_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        PlainViT(**{'variant': 'tiny', **options})


def test_reset_parameters__xavier_patch_projection():
    model = PlainViT('tiny')
    weight = model.patch_embed.proj.weight
    bound = (6 / (192 + 3 * 16 * 16)) ** 0.5
    assert weight.abs().max() <= bound
    assert abs(weight.std().item() / (bound / 3**0.5) - 1) < 0.02
    assert abs(model.cls_token.std().item() / 0.02 - 1) < 0.2


@pytest.mark.parametrize('options', [{}, BEIT, dict(rel_pos='decomposed', use_abs_pos=False)])
def test_forward__residual_stream_stays_float32_under_autocast(options):
    model, images = toy(**options).eval(), torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        exact = model(images)[0]
        with torch.autocast('cpu', torch.bfloat16):
            rounded = model(images)[0]
    assert rounded.dtype == torch.float32
    # Branches in bf16 (8 bits) err by less than the stream itself would: 2 ** -8 of each value, block after block.
    assert 0 < relative_error(rounded, exact) < 1e-2


@pytest.mark.parametrize('size', [(32, 32), (33, 50)])
def test_window_abs_pos__tiled_plus_stretched_by_loop(size):
    model = toy(window_size=4, window_abs_pos=True, rel_pos='decomposed_global')
    plain = toy(window_size=4)
    plain.load_state_dict({n: v for n, v in model.state_dict().items() if n in plain.state_dict()}, strict=False)
    images = torch.randn(2, 3, *size)
    rows, columns = -(-size[0] // 8), -(-size[1] // 8)
    added = model.embed(images) - plain.patch_embed(images).flatten(2).transpose(1, 2)
    stretched = model.global_pos_embed.transpose(1, 2).reshape(1, 24, 4, 4)
    stretched = F.interpolate(stretched, size=(rows, columns), mode='bicubic')
    for y in range(rows):
        for x in range(columns):
            expected = model.pos_embed[0, 1 + y % 4 * 4 + x % 4] + stretched[0, :, y, x]
            torch.testing.assert_close(added[1, y * columns + x], expected, atol=1e-5, rtol=1e-5)


def test_window_abs_pos__starts_as_the_published_table():
    model = PlainViT(TOY, img_size=64, pretrain_img_size=32, patch_size=8, window_size=4, window_abs_pos=True)
    assert not model.global_pos_embed.any()
    assert model.param_depth('global_pos_embed') == 0
    added = model.embed(torch.zeros(1, 3, 64, 64)) - model.patch_embed.proj.bias
    torch.testing.assert_close(added.reshape(8, 8, 24)[4:, 4:].reshape(1, 16, 24), model.pos_embed[:, 1:])


def test_rel_pos__of_global_blocks_only_is_zero_tables_in_windows():
    options = dict(window_size=2, global_blocks=(1,))
    some, every = toy(rel_pos='decomposed_global', **options), toy(rel_pos='decomposed', **options)
    assert {n for n in some.state_dict() if 'rel_pos' in n} == {f'blocks.1.attn.rel_pos_{axis}' for axis in 'hw'}
    for name, parameter in every.named_parameters():
        if 'rel_pos' in name:
            torch.nn.init.zeros_(parameter)
    every.load_state_dict(some.state_dict(), strict=False)
    images = torch.randn(2, 3, 40, 24)
    torch.testing.assert_close(some(images), every(images))


@pytest.mark.parametrize('rel_pos', ['decomposed', 'decomposed_global'])
@pytest.mark.parametrize('size', [(32, 32), (33, 50)])
def test_attention__every_way_the_same_values_and_gradients(rel_pos, size):
    images, results = torch.randn(2, 3, *size), {}
    for way in ('bias', 'fold', 'chunk', 'auto'):
        model = toy(rel_pos=rel_pos, window_size=3, global_blocks=(-1,), attention=way)
        for dtype in (torch.float32, torch.float64):
            model.to(dtype).zero_grad()
            maps = model(images.to(dtype))
            random_functional(maps).backward()
            results[way, dtype] = maps[0], torch.cat([p.grad.flatten() for p in model.parameters()])
    for (_, dtype), found in results.items():
        for actual, expected in zip(found, results['bias', dtype], strict=True):
            assert relative_error(actual, expected) < (1e-5 if dtype == torch.float32 else 1e-10)


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (dict(img_size=0), 'img_size=0 and patch_size=16: both have to be above 0'),
        (dict(img_size=(32, -5)), 'have to be above 0'),
        (dict(patch_size=0), 'have to be above 0'),
        (dict(drop_path_rate=2), 'drop_path_rate=2: it has to be a share'),
        (dict(drop_path_rate=-0.1), 'it has to be a share'),
    ],
)
def test_plain_vit__numbers_out_of_range(options, told):
    with pytest.raises(ValueError, match=told):
        PlainViT('tiny', **options)
