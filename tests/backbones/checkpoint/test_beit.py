"""BEiT's files through the door: every name of theirs ends somewhere, tables in the grid of the model."""

import pytest
import torch

from backbones import PlainViT
from backbones.checkpoint.beit import convert_beit, options_of, spread_shared_table
from backbones.checkpoint.load import load_pretrained
from backbones.checkpoint.read import read_checkpoint
from backbones.checkpoint.write import inspect_checkpoint, write_encoder
from backbones.vit.rel_pos_table import resample_table

TOY = dict(embed_dim=24, depth=2, num_heads=2)
TABLE = 'relative_position_bias_table'
SHARED = f'rel_pos_bias.{TABLE}'
BEIT = dict(rel_pos='table', use_abs_pos=False, layer_scale=0.1)


def toy(**options):
    return PlainViT(TOY, **{'img_size': 32, 'patch_size': 8, **BEIT, **options})


def beit_encoder():
    """Random weights of blocks and embeddings under BEiT's names."""
    shapes = {'cls_token': (1, 1, 24), 'patch_embed.proj.weight': (24, 3, 8, 8), 'patch_embed.proj.bias': (24,)}
    block = {'gamma_1': (24,), 'gamma_2': (24,), 'attn.q_bias': (24,), 'attn.v_bias': (24,)}
    block |= {'attn.qkv.weight': (72, 24), 'attn.proj.weight': (24, 24), 'attn.proj.bias': (24,)}
    block |= {f'norm{i}.{kind}': (24,) for i in (1, 2) for kind in ('weight', 'bias')}
    block |= {'mlp.fc1.weight': (96, 24), 'mlp.fc1.bias': (96,), 'mlp.fc2.weight': (24, 96), 'mlp.fc2.bias': (24,)}
    shapes |= {f'blocks.{i}.{name}': shape for i in range(2) for name, shape in block.items()}
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def index():
    return torch.zeros(17, 17, dtype=torch.long)


def pretrained():
    """Names of ``beit_*_pt22k.pth``."""
    state = beit_encoder() | {SHARED: torch.randn(52, 2), 'rel_pos_bias.relative_position_index': index()}
    state |= {'mask_token': torch.randn(1, 1, 24), 'norm.weight': torch.randn(24), 'norm.bias': torch.randn(24)}
    return state | {'lm_head.weight': torch.randn(10, 24), 'lm_head.bias': torch.randn(10)}


def pretrained_v2():
    """BEiT v2 has two more layers behind, of which the backbone knows nothing."""
    return pretrained() | {f'cls_pt_layers.{i}.attn.q_bias': torch.randn(24) for i in range(2)}


def fine_tuned():
    """Names of ``beit_*_ft22k.pth``."""
    state = beit_encoder()
    for i in range(2):
        state |= {f'blocks.{i}.attn.{TABLE}': torch.randn(52, 2)}
        state |= {f'blocks.{i}.attn.relative_position_index': index()}
    state |= {'fc_norm.weight': torch.randn(24), 'fc_norm.bias': torch.randn(24)}
    return state | {'head.weight': torch.randn(10, 24), 'head.bias': torch.randn(10)}


def save(tmp_path, state, wrapper='model'):
    torch.save({wrapper: state, 'epoch': 3}, tmp_path / 'beit.pth')
    return tmp_path / 'beit.pth'


def assert_encoder(model, state):
    """The model's weights are those of the file, written out by hand."""
    own = model.state_dict()
    for i in range(2):
        bias = torch.cat([state[f'blocks.{i}.attn.q_bias'], torch.zeros(24), state[f'blocks.{i}.attn.v_bias']])
        assert torch.equal(own[f'blocks.{i}.attn.qkv.bias'], bias)
    for name in beit_encoder():
        if not name.endswith(('q_bias', 'v_bias')):
            assert torch.equal(own[name], state[name]), name


def test_convert_beit__fuses_bias_and_renames_layer_scale():
    query, value, gamma, other = torch.randn(4), torch.randn(4), torch.randn(4), torch.randn(4)
    tensors, left_over = convert_beit(
        {
            'blocks.0.attn.q_bias': query,
            'blocks.0.attn.v_bias': value,
            'blocks.0.ls1.gamma': gamma,
            'blocks.0.ls2.gamma': other,
            'blocks.0.attn.relative_position_index': index(),
            'cls_token': other,
        }
    )
    assert list(tensors) == ['blocks.0.attn.qkv.bias', 'blocks.0.gamma_1', 'blocks.0.gamma_2', 'cls_token']
    assert torch.equal(tensors['blocks.0.attn.qkv.bias'], torch.cat([query, torch.zeros(4), value]))
    assert tensors['blocks.0.gamma_1'] is gamma
    assert tensors['blocks.0.gamma_2'] is other
    assert left_over == {'blocks.0.attn.relative_position_index': 'index of relative positions, computed instead'}


@pytest.mark.parametrize('names', [['q_bias'], ['v_bias'], ['q_bias', 'v_bias', 'qkv.bias']])
def test_convert_beit__half_a_dialect_is_left_to_the_report(names):
    tensors = {f'blocks.0.attn.{name}': torch.randn(4) for name in names}
    assert convert_beit(tensors) == (tensors, {})


def test_spread_shared_table__only_to_a_model_with_own_tables():
    tensors = {SHARED: torch.randn(52, 2), 'cls_token': torch.randn(1)}
    own = toy().state_dict()
    spread = spread_shared_table(tensors, own)
    assert set(spread) == {'cls_token', f'blocks.0.attn.{TABLE}', f'blocks.1.attn.{TABLE}'}
    assert all(spread[f'blocks.{i}.attn.{TABLE}'] is tensors[SHARED] for i in range(2))
    assert spread_shared_table(tensors, toy(rel_pos='shared_table').state_dict()) is tensors
    assert spread_shared_table(tensors, PlainViT(TOY).state_dict()) is tensors


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(rel_pos='table', use_abs_pos=False, layer_scale=1.0),
        dict(rel_pos='shared_table', layer_scale=1.0),
        dict(rel_pos='decomposed', use_abs_pos=False),
        dict(layer_scale=1.0),
    ],
)
def test_options_of__those_the_model_was_built_with(options):
    assert options_of(PlainViT(TOY, **options).state_dict()) == options


@pytest.mark.parametrize(
    ('file', 'wrapper', 'name'),
    [
        (pretrained, 'model', 'official BEiT'),
        (pretrained_v2, 'module', 'official BEiT, saved by DeepSpeed'),
    ],
)
def test_load_pretrained__beit_with_a_shared_table(tmp_path, file, wrapper, name):
    state = file()
    path = save(tmp_path, state, wrapper)
    shared, own = toy(rel_pos='shared_table', out_norm=True), toy()
    report = load_pretrained(shared, path)
    assert report.format == name
    assert_encoder(shared, state)
    assert torch.equal(shared.rel_pos_bias.relative_position_bias_table, state[SHARED])
    assert torch.equal(shared.norm.weight, state['norm.weight'])
    used = set(state) - set(beit_encoder()) - {SHARED, 'norm.weight', 'norm.bias'}
    assert set(report.left_over) == used

    report = load_pretrained(own, path)
    assert report.left_over[SHARED] == 'shared in the file: each block starts from a copy'
    assert_encoder(own, state)
    for block in own.blocks:
        assert torch.equal(block.attn.relative_position_bias_table, state[SHARED])


def test_load_pretrained__fine_tuned_beit(tmp_path):
    state = fine_tuned()
    model = toy()
    report = load_pretrained(model, save(tmp_path, state))
    assert report.format == 'official BEiT'
    assert_encoder(model, state)
    for i, block in enumerate(model.blocks):
        assert torch.equal(block.attn.relative_position_bias_table, state[f'blocks.{i}.attn.{TABLE}'])
    assert {name.split('.')[-2] for name in report.left_over} == {'attn', 'fc_norm', 'head'}
    assert not (report.kept or report.resized)


def test_load_pretrained__tables_to_the_grid_of_the_model(tmp_path):
    state = pretrained()
    model = toy(img_size=(24, 48))
    report = load_pretrained(model, save(tmp_path, state))
    assert report.resized == {f'blocks.{i}.attn.{TABLE}': ((52, 2), (5 * 11 + 3, 2)) for i in range(2)}
    expected = resample_table(state[SHARED], (4, 4), (3, 6))
    assert all(torch.equal(block.attn.relative_position_bias_table, expected) for block in model.blocks)
    # Another size than the file's gives the same features, whether resampled at load or at run time.
    unresampled = toy().eval()
    load_pretrained(unresampled, tmp_path / 'beit.pth')
    images = torch.randn(2, 3, 24, 48)
    torch.testing.assert_close(model.eval()(images), unresampled(images))


def test_load_pretrained__own_table_that_is_not_square(tmp_path):
    own = toy(img_size=(24, 48))
    for block in own.blocks:
        torch.nn.init.normal_(block.attn.relative_position_bias_table)
    path = save(tmp_path, own.state_dict())
    model = toy(img_size=(24, 48))
    assert not load_pretrained(model, path).resized
    torch.testing.assert_close(model.state_dict(), own.state_dict())
    with pytest.raises(ValueError, match=r'wrong shape +blocks\.\*\.attn\.relative_position_bias_table \(2\)'):
        load_pretrained(toy(), path)


def test_load_pretrained__beit_into_a_plain_model_says_what_to_build(tmp_path):
    with pytest.raises(ValueError, match=r"in_channels 3, rel_pos='table', use_abs_pos=False, layer_scale=1\.0\n"):
        load_pretrained(PlainViT(TOY, img_size=32, patch_size=8), save(tmp_path, fine_tuned()))


def test_load_pretrained__mae_into_a_model_with_tables(tmp_path):
    # mmseg's MAE: tables start at zero and layer scale at one, which is the pretrained function itself.
    plain = PlainViT(TOY, img_size=32, patch_size=8).eval()
    model = toy(use_abs_pos=True, layer_scale=1.0).eval()
    gammas = [f'blocks.{i}.gamma_{j}' for i in range(2) for j in (1, 2)]
    report = load_pretrained(model, save(tmp_path, plain.state_dict()), allow_missing=gammas)
    tables = {f'blocks.{i}.attn.{TABLE}' for i in range(2)}
    assert {name for name, why in report.kept.items() if 'start at zero' in why} == tables
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(images), plain(images), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(('file', 'norm'), [(pretrained, 2), (fine_tuned, 0)])
def test_inspect_checkpoint__whole_beit(tmp_path, file, norm):
    found = inspect_checkpoint(save(tmp_path, file()))
    assert (found.sizes.embed_dim, found.sizes.depth, found.sizes.patch_size) == (24, 2, 8)
    assert found.report.complete
    tables = 1 if file is pretrained else 2
    assert len(found.tensors) == 3 + 2 * 14 + tables + norm
    kind = 'shared_table' if file is pretrained else 'table'
    assert f"rel_pos='{kind}', use_abs_pos=False, layer_scale=1.0, " in '\n'.join(found.notes)


@pytest.mark.parametrize(('target', 'suffix'), [('timm', 'pth'), ('mae', 'pth'), ('safetensors', 'safetensors')])
def test_write_encoder__beit_under_its_own_names(tmp_path, target, suffix):
    source = fine_tuned()
    found = inspect_checkpoint(save(tmp_path, source))
    # Fine-tuning drifts the bias on K, which changes nothing and has no name in BEiT.
    found.tensors['blocks.1.attn.qkv.bias'][24:48] = 0.5
    write_encoder(found.tensors, tmp_path / f'out.{suffix}', target)
    written = read_checkpoint(tmp_path / f'out.{suffix}')
    written = written.get('model', written)
    encoder = {name for name in source if not name.startswith(('head.', 'fc_norm.')) and 'index' not in name}
    assert set(written) == encoder
    for name, value in written.items():
        torch.testing.assert_close(value, source[name], rtol=0, atol=0)


def test_load_pretrained__tables_in_the_grid_of_their_windows(tmp_path):
    source = fine_tuned()
    model = toy(window_size=2, global_blocks=(1,))
    report = load_pretrained(model, save(tmp_path, source))
    assert report.left_over['cls_token'] == 'the model has no class token (windows or relative positions)'
    assert report.resized == {f'blocks.0.attn.{TABLE}': ((52, 2), (12, 2))}
    small, whole = (block.attn.relative_position_bias_table.data for block in model.blocks)
    torch.testing.assert_close(small, resample_table(source[f'blocks.0.attn.{TABLE}'], (4, 4), (2, 2)), rtol=0, atol=0)
    torch.testing.assert_close(whole, source[f'blocks.1.attn.{TABLE}'], rtol=0, atol=0)
