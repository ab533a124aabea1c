"""BEiT's pretraining against transformers: features, logits, loss and gradients with the same weights and masks
(<= 1e-5 of the largest value).

Square images: transformers transposes tables that are not square.
"""

import pytest
import torch
from transformers import BeitConfig, BeitForMaskedImageModeling

from backbones import load_pretrained
from backbones.checkpoint.recognise import recognise
from pretrain.methods.beit import BEiTPretraining
from pretrain.methods.targets import TokenTarget, Views
from pretrain.tokenizer.dvae import DiscreteVAE
from tests.helpers import randomise, relative_error


def pair():
    config = BeitConfig(
        image_size=48,
        patch_size=8,
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=192,
        layer_norm_eps=1e-6,
        vocab_size=37,
        use_mask_token=True,
        use_shared_relative_position_bias=True,
    )
    theirs = randomise(BeitForMaskedImageModeling(config)).eval()
    for name, parameter in theirs.named_parameters():
        if 'table' in name or 'lambda' in name:
            torch.nn.init.normal_(parameter)
    encoder = dict(
        type='PlainViT',
        variant=dict(embed_dim=48, depth=3, num_heads=4),
        img_size=48,
        patch_size=8,
        rel_pos='shared_table',
        use_abs_pos=False,
        layer_scale=0.1,
        out_norm=True,
    )
    ours = BEiTPretraining(encoder, TokenTarget(DiscreteVAE(37, hidden=8, groups=1, blocks=1, decoder_init=4))).eval()
    state = theirs.state_dict()
    # transformers keeps the last norm beside the head.
    norm = {f'beit.layernorm.{part}': state[f'layernorm.{part}'] for part in ('weight', 'bias')}
    inside = {name: value for name, value in state.items() if name.startswith('beit.')}
    load_pretrained(ours.encoder, inside | norm)
    with torch.no_grad():
        ours.mask_token.copy_(theirs.beit.embeddings.mask_token)
    ours.head.load_state_dict(theirs.lm_head.state_dict())
    return ours, theirs


@pytest.mark.parametrize('masked', [23, 5])
def test_beit__features_logits_loss_and_gradients(masked):
    ours, theirs = pair()
    images, ids = torch.randn(5, 3, 48, 48), torch.randint(0, 37, (5, 6, 6))
    mask = torch.zeros(5, 36, dtype=torch.bool).scatter_(1, torch.rand(5, 36).argsort(1)[:, :masked], True)
    expected = theirs(images, bool_masked_pos=mask, labels=ids.flatten(1)[mask], output_hidden_states=True)
    everywhere = torch.arange(36).expand(5, -1)
    captured = []
    hook = ours.encoder.norm.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
    logits = ours.predict_patches(images, mask, 36 - masked, everywhere)
    hook.remove()
    assert relative_error(captured[0], expected.hidden_states[-1]) < 1e-5
    assert relative_error(logits, expected.logits) < 1e-5

    losses = ours.losses_for_mask(Views(images, 8, token_ids=ids), mask)
    losses['loss'].backward()
    expected.loss.backward()
    assert losses['loss'].item() == pytest.approx(expected.loss.item(), rel=1e-5)
    right = (expected.logits.argmax(-1) == ids.flatten(1))[mask].float().mean().item()
    assert losses['mlm_acc'].item() == pytest.approx(right)
    compare_gradients(ours, theirs)


def compare_gradients(ours, theirs):
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    norm = {f'beit.layernorm.{part}': gradients.pop(f'layernorm.{part}') for part in ('weight', 'bias')}
    # The door renames gradients as it does weights.
    expected = recognise(gradients | norm, 'gradients').tensors
    actual = {name: p.grad for name, p in ours.encoder.named_parameters()}
    assert actual.keys() <= expected.keys()
    pairs = [(actual[name], expected[name]) for name in actual]
    pairs.append((ours.mask_token.grad, gradients['beit.embeddings.mask_token']))
    pairs += [(ours.head.weight.grad, gradients['lm_head.weight']), (ours.head.bias.grad, gradients['lm_head.bias'])]
    assert max(relative_error(*pair) for pair in pairs) < 1e-5
