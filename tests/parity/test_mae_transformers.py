"""MaskedAutoencoder against transformers' ViTMAEForPreTraining: same weights, same mask, loss and gradients.

Tolerance 1e-5 of the largest value (loss 2e-7, gradients 3e-6 seen). Every weight is random, the norms included.
"""

import pytest
import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from downstream.benches.peers import mae_tensors
from pretrain.methods.mae import MaskedAutoencoder
from pretrain.methods.targets import Views
from tests.helpers import randomise, relative_error


def pair(norm_pix, mask_ratio, img_size=(32, 32)):
    config = ViTMAEConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=192,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=128,
        image_size=img_size,
        patch_size=8,
        layer_norm_eps=1e-6,
        mask_ratio=mask_ratio,
        norm_pix_loss=norm_pix,
    )
    theirs = randomise(ViTMAEForPreTraining(config))
    ours = MaskedAutoencoder(
        dict(
            type='PlainViT',
            variant=dict(embed_dim=48, depth=3, num_heads=3),
            img_size=img_size,
            patch_size=8,
            out_norm=True,
        ),
        decoder=dict(embed_dim=32, depth=2, num_heads=4),
        mask_ratio=mask_ratio,
        norm_pix=norm_pix,
    )
    ours.load_state_dict(mae_tensors(theirs.state_dict()))
    return ours, theirs


@pytest.mark.parametrize('norm_pix', [False, True])
@pytest.mark.parametrize('mask_ratio', [0.75, 0.3])
def test_losses_for_mask__loss_and_gradients_of_transformers(norm_pix, mask_ratio):
    ours, theirs = pair(norm_pix, mask_ratio)
    images = 2 * torch.randn(5, 3, 32, 32) + 1
    expected = theirs(images, noise=torch.rand(5, 16))
    loss = ours.losses_for_mask(Views(images, 8), expected.mask.bool())['loss']
    loss.backward()
    expected.loss.backward()
    assert loss.item() == pytest.approx(expected.loss.item(), rel=1e-5)
    trained = {name: p for name, p in theirs.named_parameters() if p.requires_grad}
    gradients = mae_tensors({name: p.grad for name, p in trained.items()})
    own = {name: p.grad for name, p in ours.named_parameters() if p.requires_grad}
    assert own.keys() == gradients.keys()
    # A bias on the keys cannot change a softmax: its gradient is rounding, on either side.
    assert max(relative_error(own[name], gradients[name]) for name in own) < 1e-5


def test_forward__draws_as_many_masked_patches_as_the_loss_averages():
    ours, theirs = pair(norm_pix=True, mask_ratio=0.75)
    images = torch.randn(5, 3, 32, 32)
    torch.manual_seed(3)
    loss = ours(images, mode='loss')['loss']
    torch.manual_seed(3)
    mask = ours.draw_mask(images)
    # Visible patches in front, in their order: their noise sorts so.
    expected = theirs(images, noise=mask.float() + 1e-3 * torch.arange(16))
    assert mask.sum(dim=1).tolist() == [12] * 5
    assert loss.item() == pytest.approx(expected.loss.item(), rel=1e-5)


def test_decoder__predictions_of_transformers_on_a_wide_grid():
    ours, theirs = pair(norm_pix=False, mask_ratio=0.6, img_size=(16, 64))
    images = torch.randn(3, 3, 16, 64)
    encoded = theirs.vit(images, noise=torch.rand(3, 16))
    expected = theirs.decoder(encoded.last_hidden_state, encoded.ids_restore).logits
    mask = encoded.mask.bool()
    actual = ours.predict_patches(images, mask, 6, torch.arange(16).expand(3, -1))
    assert relative_error(actual, expected) < 1e-5
