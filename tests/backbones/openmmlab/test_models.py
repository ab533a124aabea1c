"""Our models as OpenMMLab builds them."""

import copy
import inspect
import pickle
import warnings

import pytest
import torch
from mmengine.registry import MODELS

import backbones
from backbones import pyramid, vit
from backbones.openmmlab.models import wants_weights

TOY = dict(embed_dim=32, depth=2, num_heads=2)


def build(**options):
    return MODELS.build(dict(type='PlainViT', variant=TOY, img_size=32, patch_size=8, **options))


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / 'vit.pth'
    torch.save({'model': vit.PlainViT(TOY, img_size=32, patch_size=8).state_dict()}, path)
    return dict(type='PretrainedViT', checkpoint=str(path))


def test_registry__builds_subclasses_of_the_plain_ones():
    for name, plain in (
        ('PlainViT', vit.PlainViT),
        ('DeconvPyramid', pyramid.DeconvPyramid),
        ('SimpleFeaturePyramid', pyramid.SimpleFeaturePyramid),
    ):
        assert issubclass(MODELS.get(name), plain)
        assert MODELS.get(name) is getattr(backbones, name)
        expected = {*inspect.signature(plain).parameters, 'init_cfg'}
        if name == 'PlainViT':
            expected = expected - {'positions'} | {*inspect.signature(vit.Positions).parameters}
        assert set(inspect.signature(MODELS.get(name)).parameters) == expected
    assert MODELS.get('LN2d') is pyramid.LayerNorm2d


def test_plain_vit__same_numbers_as_the_plain_one():
    torch.manual_seed(3)
    built = build(out_indices=(0, 1))
    plain = vit.PlainViT(TOY, img_size=32, patch_size=8, out_indices=(0, 1))
    plain.load_state_dict(built.state_dict())
    images = torch.randn(2, 3, 40, 24)
    for ours, theirs in zip(built(images), plain(images), strict=True):
        assert torch.equal(ours, theirs)


def test_plain_vit__grouped_and_side_by_side():
    places = dict(rel_pos='decomposed', window_size=3, global_blocks=(1,), pretrain_img_size=48)
    flat = build(**places)
    plain = vit.PlainViT(TOY, img_size=32, patch_size=8, positions=vit.Positions(**places))
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (plain, flat)]
    assert shapes[0] == shapes[1]
    assert [block.window_size for block in plain.blocks] == [3, 0] and plain.pos_grid == (6, 6)
    with pytest.raises(ValueError, match=r'rel_pos=.bilinear. is unknown'):
        vit.Positions(rel_pos='bilinear')


def test_subclass__has_its_own_arguments():
    class Other(backbones.PlainViT):
        def __init__(self, colour, **options):
            super().__init__(TOY, **options)
            self.colour = colour

    assert list(inspect.signature(Other).parameters) == ['colour', 'options']
    assert Other('red', img_size=32, window_size=2).blocks[0].window_size == 2


@pytest.mark.parametrize('call', ['forward', 'embed', 'encode'])
def test_weights_not_loaded__warn_once(call, weights):
    model, images = build(init_cfg=weights), torch.randn(1, 3, 32, 32)
    run = {
        'forward': lambda: model(images),
        'embed': lambda: model.embed(images),
        'encode': lambda: model.encode(model.embed(images)),
    }[call]
    with pytest.warns(UserWarning, match=r'PlainViT computes with random weights: .*vit\.pth.*init_weights') as told:
        run()
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        run()


@pytest.mark.parametrize('how', ['init_weights', 'load_state_dict', 'of a whole model', 'none asked for'])
def test_weights_loaded__no_warning(how, weights):
    model = build(init_cfg=None if how == 'none asked for' else weights)
    if how == 'init_weights':
        model.init_weights()
    elif how == 'load_state_dict':
        model.load_state_dict(copy.deepcopy(model.state_dict()))
    elif how == 'of a whole model':
        whole = torch.nn.Sequential(model)
        whole.load_state_dict(copy.deepcopy(whole.state_dict()))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        model(torch.randn(1, 3, 32, 32))
    assert not model._forward_pre_hooks


def test_plain_vit__copied_and_pickled_before_it_is_filled(weights):
    model = build(init_cfg=weights)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        twin.init_weights()
        assert torch.equal(twin.cls_token, torch.load(weights['checkpoint'])['model']['cls_token'])
        assert not twin._forward_pre_hooks


def test_wants_weights__lists_too():
    assert wants_weights([dict(type='Kaiming'), dict(type='Pretrained', checkpoint='a.pth')])
    assert not wants_weights([dict(type='Kaiming', layer='Conv2d')]) and not wants_weights(None)
