"""Which of several weights in a file are taken, and what is said of the others."""

import pytest
import torch

from backbones import PretrainedViT
from backbones.checkpoint import load_pretrained
from backbones.checkpoint.states import choose, find_states
from tests.backbones.checkpoint.test_load import assert_equal, refused, toy, weights


def zeros(state):
    return {name: torch.zeros_like(value) for name, value in state.items()}


@pytest.mark.parametrize(
    ('better', 'worse', 'extra'),
    [
        ('model_ema', 'model', {'model_ema_decay': 0.999}),
        ('state_dict_ema', 'state_dict', {'arch': 'vit'}),
        ('ema', 'model', {}),
        ('ema.module', 'model', {}),
        ('teacher', 'student', {}),
        ('model_best_ema', 'model', {}),
        ('state_dict', 'ema_state_dict', {'meta': {'epoch': 3}}),
        ('ema_state_dict', 'state_dict', {'epoch': 3}),
        ('state_dict', 'current_model_state', {}),
    ],
)
def test_load_pretrained__average_beside_what_it_is_made_of(better, worse, extra):
    state = weights()
    content = {worse: zeros(state), **extra, 'optimizer': {'state': {0: {'exp_avg': torch.ones(2)}}}}
    outer, _, inner = better.partition('.')
    content[outer] = {inner: state, 'updates': 3} if inner else state
    model = toy()
    report = load_pretrained(model, content)
    assert_equal(model, state)
    assert report.weights.startswith(f'{better!r}: ') and f'key={worse!r} takes the other' in report.weights
    assert report.weights in str(report)
    assert report.left_over == {worse: f'other weights of a ViT: key={worse!r} takes them'}
    load_pretrained(model, content, key=worse)
    assert_equal(model, zeros(state))


def test_load_pretrained__averaged_model_of_torch():
    # torch.optim.swa_utils.AveragedModel counts beside its wrapped names.
    state = weights()
    content = {'model': state, 'model_ema': {f'module.{k}': v + 1 for k, v in state.items()}}
    content['model_ema']['n_averaged'] = torch.tensor(7)
    model = toy()
    report = load_pretrained(model, content)
    assert_equal(model, {name: value + 1 for name, value in state.items()})
    assert report.left_over['n_averaged'] == "outside of 'module.', where the encoder is"


@pytest.mark.parametrize('keys', [('model', 'best_model'), ('model_ema', 'model_swa'), ('encoder', 'target_encoder')])
def test_load_pretrained__weights_that_no_convention_tells_apart(keys):
    state = weights()
    content = {keys[0]: zeros(state), keys[1]: state}
    message = refused(toy(), content)
    assert f'several sets of weights: {keys[0]!r}, {keys[1]!r}; say which by key=' in message
    model = toy()
    load_pretrained(model, content, key=keys[1])
    assert_equal(model, state)


def test_load_pretrained__another_network_under_a_teachers_name():
    # Distillation: the teacher is no average of the student.
    content = {'model': weights(), 'teacher': weights(patch_size=4)}
    assert 'say which by key=' in refused(toy(), content)


def test_load_pretrained__key_in_a_config(tmp_path):
    state = weights()
    torch.save({'model': zeros(state), 'model_ema': state}, tmp_path / 'a.pth')
    model = toy()
    PretrainedViT(str(tmp_path / 'a.pth'), key='model')(model)
    assert_equal(model, zeros(state))


def test_load_pretrained__no_such_key_or_prefix():
    content = {'model': weights(), 'epoch': 3}
    assert "no weights under key='model_ema': it has 'model'" in refused(toy(), content, key='model_ema')
    message = refused(toy(), content, prefix='encoder')
    assert "no encoder behind prefix='encoder.'; names inside: cls_token, pos_embed" in message


@pytest.mark.parametrize('prefix', ['model.', 'model.encoder.', 'student.net.vit.', 'backbone.vit.'])
@pytest.mark.parametrize('key', ['state_dict', 'network', None])
def test_load_pretrained__the_one_prefix_in_front_of_the_encoder(prefix, key):
    state = weights()
    inside = {prefix + name: value for name, value in state.items()} | {'criterion.weight': torch.ones(2)}
    model = toy()
    report = load_pretrained(model, {key: inside, 'pytorch-lightning_version': '2.4.0'} if key else inside)
    assert_equal(model, state)
    assert report.format == f"MAE's names behind {prefix!r}"
    assert report.left_over == {'criterion.weight': f'outside of {prefix!r}, where the encoder is'}


def test_load_pretrained__two_encoders_in_one_state_dict():
    state = weights()
    inside = {f'student.backbone.{k}': v for k, v in zeros(state).items()}
    inside |= {f'teacher.backbone.{k}': v for k, v in state.items()}
    model = toy()
    report = load_pretrained(model, {'model': inside})
    assert_equal(model, state)
    assert set(report.left_over.values()) == {"another encoder: prefix='student.backbone.' takes it"}
    load_pretrained(model, {'model': inside}, prefix='student.backbone')
    assert_equal(model, zeros(state))
    siamese = {f'{side}.{k}': v for side in ('left', 'right') for k, v in state.items()}
    assert "encoders lie behind 'left.', 'right.': say which by prefix=" in refused(model, siamese)


def test_load_pretrained__second_encoder_beside_a_known_prefix():
    state = weights()
    inside = {f'backbone.{k}': v for k, v in state.items()} | {f'ema_backbone.{k}': v for k, v in state.items()}
    report = load_pretrained(toy(), {'state_dict': inside | {'neck.weight': torch.ones(2)}})
    assert report.left_over.pop('neck.weight') == 'pyramid, heads and preprocessor of the fine-tuned model'
    assert set(report.left_over.values()) == {"another encoder: prefix='ema_backbone.' takes it"}


def test_load_pretrained__half_of_the_names_behind_a_prefix():
    state = {(f'model.{k}' if 'blocks.1' not in k else k): v for k, v in weights().items()}
    assert 'missing      blocks.1.norm1.weight' in refused(toy(), {'state_dict': state})


@pytest.mark.parametrize('key', ['model', None])
def test_load_pretrained__entries_that_are_no_tensors(key):
    state = weights()
    inside = state | {'_extra_state': None, 'step': 12, 'blocks.0.attn._extra_state': b'\0'}
    model = toy()
    report = load_pretrained(model, {key: inside} if key else inside)
    assert_equal(model, state)
    assert report.left_over == {
        '_extra_state': 'no tensor but NoneType',
        'step': 'no tensor but int',
        'blocks.0.attn._extra_state': 'no tensor but bytes',
    }


def test_load_pretrained__other_tensors_of_the_file_are_listed():
    content = {'model': weights(), 'dino_loss': {'center': torch.ones(1, 4)}, 'temperature': torch.ones(1)}
    assert load_pretrained(toy(), content).left_over == {
        'dino_loss': 'tensors of no ViT that is read',
        'temperature': "outside of 'model', where the encoder is",
    }


def test_load_pretrained__blocks_in_chunks_as_dinov2_trains():
    state = weights(layer_scale=1.0)
    chunked = {name.replace('blocks.0.', 'blocks.0.0.').replace('blocks.1.', 'blocks.1.1.') for name in state}
    assert 'blocks.1.1.norm1.bias' in chunked and 'blocks.0.0.norm1.bias' in chunked
    content = {
        f'backbone.{k}'.replace('blocks.0.', 'blocks.0.0.').replace('blocks.1.', 'blocks.1.1.'): v
        for k, v in state.items()
    }
    content |= {'dino_head.mlp.0.weight': torch.ones(2, 2), 'ibot_head.last_layer.weight_g': torch.ones(2)}
    model = toy(layer_scale=1.0)
    report = load_pretrained(model, {'teacher': content})
    assert_equal(model, state)
    assert report.left_over == {'dino_head.mlp.0.weight': 'DINO head', 'ibot_head.last_layer.weight_g': 'iBOT head'}


def test_find_states__places_and_nesting():
    one = torch.ones(1)
    found = find_states({'model': {'w': one}, 'ema': {'module': {'module.w': one}}, 'b': one, 'epoch': 3, 'x': {}})
    assert set(found) == {'', 'model', 'ema.module'}
    assert list(found['ema.module'].tensors) == ['w']
    assert found[''].others == {name: f'no tensor but {kind}' for name, kind in
                                [('model', 'dict'), ('ema', 'dict'), ('epoch', 'int'), ('x', 'dict')]}  # fmt: skip


@pytest.mark.parametrize(
    ('places', 'chosen'),
    [(['model', 'ema'], 'ema'), (['a.', 'teacher.b.'], 'teacher.b.'), (['schema', 'model'], None), (['model'], None)],
)
def test_choose__by_whole_words(places, chosen):
    found = choose(places)
    assert (found and found[0]) == chosen
