"""Files of mmseg, mmpretrain and mmselfsup through the door: features <= 1e-5 of mmseg's, the others by their names."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.models.backbones import MAE, BEiT, VisionTransformer

from backbones import PlainViT, load_pretrained
from tests.helpers import randomise, relative_error

TOY = dict(embed_dim=48, depth=3, num_heads=3)
SIZES = dict(
    patch_size=8, embed_dims=48, num_layers=3, num_heads=3, out_indices=[2], norm_cfg=dict(type='LN', eps=1e-6)
)
# mmseg writes MAE as a BEiT whose extras do nothing at the start of fine-tuning.
BEIT_PARTS = {'gamma_1': 1, 'gamma_2': 1, 'relative_position_bias_table': 0}


def mmseg_mae(img_size=(32, 32)):
    model = randomise(MAE(img_size=img_size, **SIZES))
    model.eval()  # returns None
    for name, value in model.named_parameters():
        if name.split('.')[-1] in BEIT_PARTS:
            torch.nn.init.constant_(value, BEIT_PARTS[name.split('.')[-1]])
    return model


def pretrained_part(model):
    """What a file of MAE's weights in mmseg's names holds."""
    state = model.state_dict()
    return {name: value for name, value in state.items() if not name.endswith(('_index', *BEIT_PARTS))}


def ours(size=(32, 32), **options):
    return PlainViT(TOY, img_size=size, patch_size=8, **options).eval()


@pytest.mark.parametrize('wrap', [lambda s: s, lambda s: {'state_dict': s, 'meta': {}}])
@torch.no_grad()
def test_mmseg_mae__features(tmp_path, wrap):
    theirs = mmseg_mae()
    torch.save(wrap(pretrained_part(theirs)), tmp_path / 'a.pth')
    model = ours()
    report = load_pretrained(model, tmp_path / 'a.pth')
    assert (report.format, len(report.loaded), report.left_over) == ('OpenMMLab, backbone alone', 40, {})
    images = torch.randn(2, 3, 32, 32)
    assert relative_error(model(images)[0], theirs(images)[0]) <= 1e-5


@torch.no_grad()
def test_mmseg_mae__positions_resized_as_mmseg_does(tmp_path):
    saved, theirs = mmseg_mae(), mmseg_mae((48, 48))
    torch.save(pretrained_part(saved), tmp_path / 'a.pth')
    theirs.load_state_dict(theirs.resize_abs_pos_embed(pretrained_part(saved)), strict=False)
    model = ours((48, 48))
    load_pretrained(model, tmp_path / 'a.pth')
    torch.testing.assert_close(model.pos_embed.data, theirs.pos_embed.data, rtol=0, atol=0)
    images = torch.randn(2, 3, 48, 48)
    assert relative_error(model(images)[0], theirs(images)[0]) <= 1e-5


def test_mmseg_mae__what_the_converter_of_mmseg_stores_twice(tmp_path):
    state = pretrained_part(mmseg_mae())
    state |= {f'patch_embed.proj.{part}': state[f'patch_embed.projection.{part}'] for part in ('weight', 'bias')}
    state |= {'norm.weight': torch.randn(48), 'norm.bias': torch.randn(48)}
    torch.save(state, tmp_path / 'a.pth')
    model = ours(out_norm=True)
    report = load_pretrained(model, tmp_path / 'a.pth')
    assert report.left_over == {
        f'patch_embed.proj.{part}': f'stored twice, as patch_embed.proj.{part} too' for part in ('weight', 'bias')
    }
    torch.testing.assert_close(model.norm.weight.data, state['norm.weight'], rtol=0, atol=0)
    state['patch_embed.proj.bias'] = state['patch_embed.proj.bias'] + 1
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'unexpected   patch_embed\.proj\.bias'):
        load_pretrained(model, tmp_path / 'a.pth')


@pytest.mark.parametrize('size', [(32, 32), (24, 56)])
@torch.no_grad()
def test_mmseg_vision_transformer__whole_segmentor(tmp_path, size):
    theirs = VisionTransformer(img_size=(32, 32), final_norm=True, patch_bias=True, interpolate_mode='bicubic', **SIZES)
    randomise(theirs).eval()
    state = {f'backbone.{name}': value for name, value in theirs.state_dict().items()}
    heads = {'decode_head.conv_seg.weight': torch.ones(2), 'neck.lateral_convs.0.conv.bias': torch.ones(2)}
    torch.save({'meta': {'epoch': 1}, 'state_dict': state | heads, 'optimizer': {}}, tmp_path / 'a.pth')
    model = ours(out_norm=True)
    report = load_pretrained(model, tmp_path / 'a.pth')
    assert report.format == 'mmpretrain, mmselfsup, mmseg or mmdet'
    assert report.left_over == dict.fromkeys(heads, 'neck, heads and preprocessor of the whole model')
    images = torch.randn(2, 3, *size)
    assert relative_error(model(images)[0], theirs(images)[0]) <= 1e-5


@pytest.mark.parametrize('kind', [MAE, BEiT])
@torch.no_grad()
def test_mmseg_fine_tuned__tables_and_layer_scale(tmp_path, kind):
    """Fine-tuning moves what was nothing at its start, in MAE's backbone too."""
    theirs = randomise(kind(img_size=(32, 40), init_values=1.0, **SIZES))
    theirs.eval()  # returns None
    for name, value in theirs.named_parameters():
        if name.split('.')[-1] in BEIT_PARTS:
            torch.nn.init.normal_(value)
    state = {f'backbone.{name}': value for name, value in theirs.state_dict().items()}
    torch.save({'state_dict': state | {'decode_head.conv_seg.weight': torch.ones(2)}}, tmp_path / 'a.pth')
    parts = dict(rel_pos='table', layer_scale=1.0, use_abs_pos=kind is MAE)
    model = ours((32, 40), **parts)
    report = load_pretrained(model, tmp_path / 'a.pth')
    assert not report.resized
    images = torch.randn(2, 3, 32, 40)
    assert relative_error(model(images)[0], theirs(images)[0]) <= 1e-5


def mmpretrain_names(state):
    """The names that mmpretrain and mmselfsup 1.x give, written out; state has MAE's."""
    outside = {
        'cls_token': 'backbone.cls_token',
        'pos_embed': 'backbone.pos_embed',
        'patch_embed.proj.weight': 'backbone.patch_embed.projection.weight',
        'patch_embed.proj.bias': 'backbone.patch_embed.projection.bias',
        'norm.weight': 'backbone.ln1.weight',
        'norm.bias': 'backbone.ln1.bias',
    }
    inside = {
        'norm1': 'ln1',
        'attn.qkv': 'attn.qkv',
        'attn.proj': 'attn.proj',
        'norm2': 'ln2',
        'mlp.fc1': 'ffn.layers.0.0',
        'mlp.fc2': 'ffn.layers.1',
    }
    for i in range(3):
        for there, here in inside.items():
            for part in ('weight', 'bias'):
                outside[f'blocks.{i}.{there}.{part}'] = f'backbone.layers.{i}.{here}.{part}'
    return {outside[name]: value for name, value in state.items()}


@pytest.mark.parametrize('bare', [False, True])
@torch.no_grad()
def test_mmselfsup_pretraining__encoder_and_what_is_left_over(tmp_path, bare):
    source = randomise(ours(out_norm=True), seed=5)
    state = mmpretrain_names(source.state_dict())
    decoder = {
        'neck.mask_token': torch.ones(1, 1, 8),
        'neck.decoder_pos_embed': torch.ones(1, 17, 8),
        'neck.decoder_blocks.0.ln1.weight': torch.ones(8),
        'data_preprocessor.mean': torch.ones(3, 1, 1),
    }
    torch.save(state | decoder if bare else {'state_dict': state | decoder, 'meta': {}}, tmp_path / 'a.pth')
    model = ours(out_norm=True)
    report = load_pretrained(model, tmp_path / 'a.pth')
    assert report.format == 'mmpretrain, mmselfsup, mmseg or mmdet'
    assert list(report.left_over.values()) == ['MAE decoder'] * 3 + ['neck, heads and preprocessor of the whole model']
    images = torch.randn(2, 3, 24, 56)
    torch.testing.assert_close(model(images), source(images), rtol=0, atol=0)


def test_mmpretrain_classifier__norm_of_the_pooled_features(tmp_path):
    state = mmpretrain_names(randomise(ours()).state_dict())
    state |= {'backbone.ln2.weight': torch.ones(48), 'backbone.ln2.bias': torch.ones(48), 'head.fc.bias': torch.ones(9)}
    torch.save({'state_dict': state}, tmp_path / 'a.pth')
    model = ours(out_norm=True)
    report = load_pretrained(model, tmp_path / 'a.pth')
    assert set(report.kept) == {'norm.weight', 'norm.bias'}
    assert report.left_over['fc_norm.bias'] == "norm of a classifier's pooled features"


def yx_table(side, dim):
    """Positions of mmpretrain and MoCo v3, by a plain loop: y in the first half of the width."""
    rows = [torch.zeros(dim)]
    for y in range(side):
        for x in range(side):
            angles = [position / 10000 ** (i / (dim // 4)) for position in (y, x) for i in range(dim // 4)]
            y_half, x_half = torch.tensor(angles).chunk(2)
            rows.append(torch.cat([y_half.sin(), y_half.cos(), x_half.sin(), x_half.cos()]))
    return torch.stack(rows)[None]


@pytest.mark.parametrize('size', [(32, 32), (24, 56), (16, 64)])
def test_mmpretrain_positions__kept_in_their_layout(tmp_path, size):
    # The weights were trained with y in front. Swapped to our layout they would compute something else; and 2 x 8
    # patches, as many as the file's 4 x 4, must not be taken for the grid of the file.
    state = randomise(ours()).state_dict()
    state['pos_embed'] = yx_table(4, 48)
    torch.save({'state_dict': mmpretrain_names(state)}, tmp_path / 'a.pth')
    model = ours(size)
    load_pretrained(model, tmp_path / 'a.pth')
    places = state['pos_embed'][:, 1:].reshape(1, 4, 4, 48).permute(0, 3, 1, 2)
    grid = (size[0] // 8, size[1] // 8)
    expected = F.interpolate(places, grid, mode='bicubic', align_corners=False).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.pos_embed[:, 1:].data, expected, rtol=0, atol=1e-5)
