"""Files of windowed models: the advice rebuilds them, and tables of windows and of the image are not mixed."""

import pytest
import torch

from backbones import PlainViT
from backbones.checkpoint.load import load_pretrained
from backbones.checkpoint.options import model_options
from backbones.checkpoint.recognise import recognise
from tests.backbones.checkpoint.test_load import assert_equal, refused
from tests.helpers import randomise

SIZES = dict(embed_dim=24, depth=4, num_heads=2)
VITDET = dict(img_size=128, patch_size=8, window_size=4, global_blocks=(1, 3), rel_pos='decomposed')


def deep(**options):
    return PlainViT(SIZES, **{'patch_size': 8, **options})


def deep_weights(**options):
    return {name: value.clone() for name, value in randomise(deep(**options), seed=7).state_dict().items()}


WINDOWED = {
    'ViTDet': VITDET,
    'positions of another image': VITDET | dict(pretrain_img_size=32),
    'not square': VITDET | dict(img_size=(96, 160), pretrain_img_size=32),
    'windows everywhere': dict(img_size=128, window_size=4, rel_pos='decomposed'),
    'whole image': dict(img_size=64, rel_pos='decomposed'),
    'whole image, larger than in pretraining': dict(img_size=64, pretrain_img_size=32, rel_pos='decomposed'),
    "BEiT's tables": dict(img_size=64, rel_pos='table', use_abs_pos=False, layer_scale=1.0),
    "BEiT's shared table": dict(img_size=48, rel_pos='shared_table', use_abs_pos=False, layer_scale=1.0),
    "BEiT's tables in windows": dict(
        img_size=64, window_size=3, global_blocks=(1,), rel_pos='table', use_abs_pos=False
    ),
    "BEiT's tables in windows alone": dict(img_size=64, window_size=3, rel_pos='table'),
    'plain': dict(img_size=64, out_norm=True),
}


@pytest.mark.parametrize('name', WINDOWED)
@torch.no_grad()
def test_model_options__rebuild_the_model(name):
    theirs = randomise(deep(**WINDOWED[name])).eval()
    file = recognise({'model': theirs.state_dict()}, 'a.pth')
    options = model_options(file)
    assert set(options.untold) <= {'num_heads'}
    ours = PlainViT(**{**options.known, 'variant': SIZES}).eval()
    load_pretrained(ours, {'model': theirs.state_dict()})
    images = torch.randn(1, 3, 72, 104)
    torch.testing.assert_close(ours(images)[0], theirs(images)[0], rtol=0, atol=0)
    if name == 'ViTDet':
        assert options.known['window_size'] == 4 and options.known['global_blocks'] == (1, 3)
        assert options.known['img_size'] == 128 and 'pretrain_img_size' not in options.known


def test_model_options__what_only_the_run_tells():
    # Windows without tables leave no trace, and tables of the global blocks alone none of the windows' size.
    assert model_options(recognise({'model': deep_weights(window_size=2)}, 'a')).untold == ['num_heads', 'window_size']
    options = dict(img_size=64, window_size=2, global_blocks=(1, 3), rel_pos='decomposed_global')
    found = model_options(recognise({'model': deep_weights(**options)}, 'a'))
    assert found.untold == ['window_size']
    assert found.known['rel_pos'] == 'decomposed_global' and found.known['global_blocks'] == (1, 3)


@pytest.mark.parametrize(
    ('theirs', 'ours', 'block', 'told'),
    [
        # The advice that was given before: no windows, and the image of the positions.
        (VITDET, dict(img_size=32, rel_pos='decomposed'), 0, 'of windows in the file (7 rows), of the whole image'),
        (VITDET, VITDET | dict(global_blocks=(0, 1, 3)), 0, 'of windows in the file'),
        (VITDET, VITDET | dict(global_blocks=(1,)), 3, 'of the whole image in the file (31 rows), of windows'),
        (VITDET, dict(img_size=128, window_size=4, rel_pos='decomposed'), 1, 'of the whole image in the file'),
        (dict(img_size=128, window_size=4, rel_pos='decomposed'), dict(img_size=128, rel_pos='decomposed'), 0,
         'of windows in the file'),
        (dict(img_size=64, rel_pos='decomposed'), dict(img_size=64, window_size=5, rel_pos='decomposed'), 0,
         'of the whole image in the file (15 rows), of windows'),
    ],
)  # fmt: skip
def test_load_pretrained__tables_of_another_reach(theirs, ours, block, told):
    state = deep_weights(**theirs)
    message = refused(deep(**ours), {'model': state})
    assert 'refused ' in message and told in message
    assert message.splitlines()[0].startswith('dict of 1 entries does not fit the model: refused blocks.')
    model = deep(**ours)
    tables = [f'blocks.{index}.attn.rel_pos_{axis}' for index in range(4) for axis in 'hw']
    report = load_pretrained(model, {'model': state}, allow_missing=tables)
    assert report.kept[f'blocks.{block}.attn.rel_pos_h'] == 'allowed by the caller'
    assert not model.state_dict()[f'blocks.{block}.attn.rel_pos_h'].any()


def test_load_pretrained__windowed_beit_into_the_whole_image():
    state = deep_weights(**WINDOWED["BEiT's tables in windows"])
    options = dict(img_size=64, rel_pos='table', use_abs_pos=False, window_size=3, global_blocks=(0, 1))
    assert 'of windows in the file (28 rows), of the whole image' in refused(deep(**options), {'model': state})


@pytest.mark.parametrize(
    ('theirs', 'ours', 'resized'),
    [
        (VITDET, VITDET, set()),
        (VITDET, VITDET | dict(img_size=64, pretrain_img_size=128), {1, 3}),
        (VITDET, VITDET | dict(window_size=6), {0, 2}),
        # Pretrained on the whole image of as many places as the windows have.
        (dict(img_size=32, rel_pos='decomposed'), VITDET | dict(pretrain_img_size=32), {1, 3}),
    ],
)
def test_load_pretrained__tables_of_the_same_reach(theirs, ours, resized):
    state = deep_weights(**theirs)
    model = deep(**ours)
    report = load_pretrained(model, {'model': state})
    assert set(report.resized) == {f'blocks.{index}.attn.rel_pos_{axis}' for index in resized for axis in 'hw'}
    assert_equal(model, {name: value for name, value in state.items() if name not in (*report.resized, 'cls_token')})


def test_load_pretrained__the_config_of_the_run_tells_windows():
    # One length of tables tells nothing: here it is that of the positions.
    options = dict(img_size=32, window_size=4, rel_pos='decomposed')
    state = {f'backbone.{name}': value for name, value in deep_weights(**options).items()}
    text = f'model = dict(backbone=dict(type="PlainViT", variant={SIZES}, patch_size=8, **)) '
    text = text.replace('**', 'img_size=32, window_size=4, rel_pos="decomposed"')
    content = {'state_dict': state, 'meta': {'cfg': text}}
    model = deep(img_size=32, rel_pos='decomposed')
    load_pretrained(model, {'state_dict': state})
    assert 'of windows in the file (7 rows)' in refused(model, content)
