"""timm's BEiT through the door: features equal timm's (<= 1e-5 of the largest value), gradients (<= 1e-4).

timm resamples tables linearly at another size, so sizes are its own here; tests/backbones/vit/test_rel_pos_table.py has
the others.
"""

import pytest
import torch
from safetensors.torch import save_file
from timm.models.beit import Beit

from backbones import PlainViT, load_pretrained
from backbones.checkpoint.read import read_checkpoint
from backbones.checkpoint.write import write_encoder
from tests.helpers import random_functional, randomise, relative_error

TAPS = (0, 2)
VARIANT = dict(embed_dim=48, depth=3, num_heads=4)
# (H, W) in patches of 8 px: not square, and not as many as the batch.
SIZE = (40, 24)


def timm_beit(shared, **options):
    tables = dict(use_shared_rel_pos_bias=shared, use_rel_pos_bias=not shared, use_abs_pos_emb=False)
    model = Beit(img_size=SIZE, patch_size=8, init_values=0.1, num_classes=5, **tables, **VARIANT, **options)
    randomise(model)
    # Of the size of trained ones: the default of the helper hides them.
    for name, parameter in model.named_parameters():
        if 'table' in name or 'gamma' in name:
            torch.nn.init.normal_(parameter)
    return model.eval()


def pair(tmp_path, shared, rel_pos, **options):
    theirs = timm_beit(shared, **options)
    save_file(theirs.state_dict(), tmp_path / 'beit.safetensors')
    ours = PlainViT(
        VARIANT, img_size=SIZE, patch_size=8, rel_pos=rel_pos, use_abs_pos=False, layer_scale=0.1, out_indices=TAPS
    ).eval()
    report = load_pretrained(ours, tmp_path / 'beit.safetensors')
    assert report.format == 'timm'
    return ours, theirs


def features(theirs, images):
    return tuple(theirs.forward_intermediates(images, indices=list(TAPS), norm=False, intermediates_only=True))


@pytest.mark.parametrize(
    ('shared', 'rel_pos'), [(False, 'table'), (True, 'shared_table'), (True, 'table')], ids=['own', 'shared', 'spread']
)
def test_timm_beit__features_and_gradients(tmp_path, shared, rel_pos):
    ours, theirs = pair(tmp_path, shared, rel_pos)
    images = torch.randn(2, 3, *SIZE)
    actual, expected = ours(images), features(theirs, images)
    assert max(relative_error(a, e) for a, e in zip(actual, expected, strict=True)) < 1e-5
    random_functional(actual).backward()
    random_functional(expected).backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    compared = 0
    for name, parameter in ours.named_parameters():
        if name in gradients:
            assert relative_error(parameter.grad, gradients[name]) < 1e-4, name
            compared += 1
        elif name.endswith('qkv.bias'):
            query, key, value = parameter.grad.chunk(3)
            start = name.removesuffix('qkv.bias')
            assert relative_error(query, gradients[f'{start}q_bias']) < 1e-4
            assert relative_error(value, gradients[f'{start}v_bias']) < 1e-4
            # BEiT has no such bias; ours gets no gradient but rounding.
            assert key.abs().max() < 1e-4 * value.abs().max()
    tables = [p.grad for name, p in ours.named_parameters() if name.endswith('table')]
    if shared:
        theirs_table = gradients['rel_pos_bias.relative_position_bias_table']
        assert relative_error(torch.stack(tables).sum(0), theirs_table) < 1e-4
    # Three embeddings, 13 tensors a block, and the tables under the same name.
    assert compared == 3 + 3 * 13 + (0 if shared and rel_pos == 'table' else len(tables))


def test_timm_beit__normed_tokens(tmp_path):
    theirs = timm_beit(False, use_fc_norm=False)
    torch.save(theirs.state_dict(), tmp_path / 'beit.pth')
    options = dict(rel_pos='table', use_abs_pos=False, layer_scale=0.1, out_norm=True)
    ours = PlainViT(VARIANT, img_size=SIZE, patch_size=8, **options).eval()
    load_pretrained(ours, tmp_path / 'beit.pth')
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        # Class token included.
        assert relative_error(ours.encode(ours.embed(images), (5, 3)), theirs.forward_features(images)) < 1e-5


def test_timm_beit__absolute_and_relative_positions(tmp_path):
    tables = dict(use_rel_pos_bias=True, use_abs_pos_emb=True, use_fc_norm=False)
    theirs = randomise(Beit(img_size=40, patch_size=8, init_values=0.1, num_classes=0, **tables, **VARIANT)).eval()
    torch.save(theirs.state_dict(), tmp_path / 'beit.pth')
    ours = PlainViT(VARIANT, img_size=40, patch_size=8, rel_pos='table', layer_scale=0.1, out_norm=True).eval()
    load_pretrained(ours, tmp_path / 'beit.pth')
    images = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        assert relative_error(ours.encode(ours.embed(images), (5, 5)), theirs.forward_features(images)) < 1e-5


@pytest.mark.parametrize('shared', [False, True])
@torch.no_grad()
def test_written_for_timm__loads_strictly(tmp_path, shared):
    kind = 'shared_table' if shared else 'table'
    options = dict(rel_pos=kind, use_abs_pos=False, layer_scale=0.1, out_norm=True)
    ours = randomise(PlainViT(VARIANT, img_size=SIZE, patch_size=8, **options)).eval()
    write_encoder(ours.state_dict(), tmp_path / 'beit.pth', 'timm')
    tables = dict(use_shared_rel_pos_bias=shared, use_rel_pos_bias=not shared, use_abs_pos_emb=False)
    shape = dict(img_size=SIZE, patch_size=8, init_values=0.1, num_classes=0, global_pool='', **VARIANT)
    theirs = Beit(**shape, **tables).eval()
    theirs.load_state_dict(read_checkpoint(tmp_path / 'beit.pth'), strict=True)
    images = torch.randn(2, 3, *SIZE)
    tokens = ours.encode(ours.embed(images), grid=(5, 3))
    assert relative_error(tokens, theirs.forward_features(images)) <= 1e-5
