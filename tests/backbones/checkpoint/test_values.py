"""Values that cannot be weights are refused by name, and a model without memory is not filled."""

import pytest
import torch

from backbones.checkpoint.load import check_pretrained, load_pretrained
from backbones.checkpoint.values import why_unusable
from tests.backbones.checkpoint.test_load import assert_equal, refused, snapshot, toy, weights

NAME = 'blocks.1.attn.qkv.weight'


def spoilt(change):
    state = weights()
    return state | {NAME: change(state[NAME])}


def with_one(value):
    def change(tensor):
        tensor = tensor.clone()
        tensor[3, 5] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        (with_one(float('nan')), 'holds 1 values of 1728 that are nan or infinite'),
        (with_one(float('-inf')), 'holds 1 values of 1728 that are nan or infinite'),
        (lambda t: t.half() * float('inf'), 'that are nan or infinite'),
        (lambda t: t.mul(100).to(torch.int8), 'holds int8, as quantised models do'),
        (lambda t: t > 0, 'holds bool'),
        (lambda t: t.to(torch.complex64), 'holds complex64'),
        (lambda t: t.to(torch.float8_e4m3fn), 'holds float8_e4m3fn'),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), 'holds qint8'),
        (lambda t: t.to_sparse(), 'is stored as torch.sparse_coo'),
        (lambda t: t.to('meta'), 'has no values'),
    ],
)
def test_load_pretrained__values_that_are_no_weights(change, told):
    message = refused(toy(), {'model': spoilt(change)})
    first = message.splitlines()[0]
    assert f'does not fit the model: refused {NAME}: ' in first and told in first


def test_load_pretrained__values_beyond_the_models_type(tmp_path):
    state = spoilt(with_one(1e5))
    assert 'beyond the range of float16' in refused(toy().half(), {'model': state})
    load_pretrained(toy(), {'model': state})
    load_pretrained(toy().bfloat16(), {'model': state})


def test_load_pretrained__bad_values_of_what_may_be_missing():
    model = toy()
    before = snapshot(model)
    report = load_pretrained(model, {'model': spoilt(with_one(float('nan')))}, allow_missing=[NAME])
    assert report.kept == {NAME: 'allowed by the caller'}
    assert_equal(model, weights() | {NAME: before[NAME]})


def test_load_pretrained__bad_values_of_what_is_left_over():
    assert load_pretrained(toy(), {'model': weights() | {'head.weight': torch.full((5, 24), float('nan'))}}).complete


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_why_unusable__types_of_weights(dtype):
    assert why_unusable(torch.ones(3, dtype=dtype), torch.float32) is None


def test_load_pretrained__model_on_the_meta_device(tmp_path):
    state = weights()
    with torch.device('meta'):
        hollow = toy()
    with pytest.raises(ValueError, match='cls_token of the model is on the meta device'):
        load_pretrained(hollow, {'model': state})
    # One parameter without memory is enough.
    model = toy()
    model.patch_embed.to('meta')
    with pytest.raises(ValueError, match=r'patch_embed\.proj\.weight of the model is on the meta device'):
        load_pretrained(model, {'model': state})


def test_check_pretrained__says_what_loading_would_do():
    state = weights()
    with torch.device('meta'):
        hollow, other = toy(img_size=48), toy(in_channels=4)
    report = check_pretrained(hollow, {'model': state})
    assert list(report.resized) == ['pos_embed'] and len(report.loaded) == len(state)
    model = toy()
    before = snapshot(model)
    check_pretrained(model, {'model': state})
    assert_equal(model, before)
    with pytest.raises(ValueError, match="channels='mean'"):
        check_pretrained(other, {'model': state})
    assert check_pretrained(other, {'model': state}, channels='mean').complete
    assert check_pretrained(hollow, {'a': state, 'b': state}, key='b').complete


def test_load_pretrained__kernel_with_the_channels_last():
    # As MLX and TensorFlow store them: (D, p, p, C).
    state = weights()
    state['patch_embed.proj.weight'] = state['patch_embed.proj.weight'].permute(0, 2, 3, 1).contiguous()
    message = refused(toy(in_channels=8), {'model': state}, channels='mean')
    assert 'wrong shape  patch_embed.proj.weight: (24, 8, 8, 3) in the file, the model has (24, 8, 8, 8)' in message
