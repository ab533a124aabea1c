import pytest
import torch
from mmengine.registry import MODELS

from backbones import PlainViT
from backbones.vit.pos_embed import resample_pos_embed
from pretrain.masking.masks import random_mask
from pretrain.masking.patches import normalise_patches, patchify
from pretrain.methods.mae import MaskedAutoencoder
from pretrain.methods.targets import Views
from tests.helpers import randomise

SMALL = dict(embed_dim=24, depth=2, num_heads=3)


def encoder(**changes):
    return {'type': 'PlainViT', 'variant': SMALL, 'img_size': (24, 40), 'patch_size': 8, 'out_norm': True, **changes}


def autoencoder(**changes):
    sizes = dict(embed_dim=16, depth=1, num_heads=4)
    return MaskedAutoencoder(encoder(), sizes, **{'mask_ratio': 0.6, **changes})


def everywhere(mask):
    return torch.arange(mask.shape[1]).expand(len(mask), -1)


def loss_for_mask(model, images, mask):
    return model.losses_for_mask(Views(images, 8), mask)['loss']


def decode(model, images, mask, visible):
    """Predictions for all patches."""
    return model.predict_patches(images, mask, visible, everywhere(mask))


def loop_loss(model, images, mask):
    """Loss by plain loops over pixels, from the model's predictions."""
    predictions = decode(model, images, mask, int((~mask[0]).sum())).detach().double()
    errors = []
    for sample in range(len(images)):
        columns = images.shape[3] // 8
        for place in range(mask.shape[1]):
            row, column = divmod(place, columns)
            patch = images[sample, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8].double()
            values = torch.tensor([patch[c, y, x] for y in range(8) for x in range(8) for c in range(len(patch))])
            if model.target.norm_pix:
                variance = sum((v - values.mean()) ** 2 for v in values) / (len(values) - 1)
                values = (values - values.mean()) / (variance + 1e-6) ** 0.5
            if mask[sample, place]:
                errors.append(((predictions[sample, place] - values) ** 2).mean())
    return (sum(errors) / len(errors)).item()


@pytest.mark.parametrize('norm_pix', [False, True])
def test_losses_for_mask__equals_loops_over_masked_patches(norm_pix):
    model = randomise(autoencoder(norm_pix=norm_pix))
    images, mask = 2 * torch.randn(2, 3, 24, 40) + 1, random_mask(2, 15, 0.6)
    assert loss_for_mask(model, images, mask).item() == pytest.approx(loop_loss(model, images, mask), rel=1e-5)


def test_losses_for_mask__masked_pixels_reach_the_target_only():
    model = randomise(autoencoder(norm_pix=False))
    images, mask = torch.randn(2, 3, 24, 40), torch.zeros(2, 15, dtype=torch.bool)
    mask[:, 6:] = True
    changed = images.clone()
    changed[:, :, 16:] += 1
    assert torch.equal(decode(model, images, mask, 6), decode(model, changed, mask, 6))
    assert loss_for_mask(model, images, mask) != loss_for_mask(model, changed, mask)


def test_losses_for_mask__visible_patches_have_no_target():
    model = randomise(autoencoder(norm_pix=False))
    images, mask = torch.randn(2, 3, 24, 40), random_mask(2, 15, 0.6)
    seen = []
    model.decoder.pred.register_forward_hook(lambda _, __, out: seen.append(out.shape))
    before = loss_for_mask(model, images, mask)
    assert seen == [(2, 9, 192)]
    visible = (~mask[0]).nonzero()[0].item()
    top, left = 8 * (visible // 5), 8 * (visible % 5)
    # What is visible is seen, so the predictions change; the truths they are compared with do not.
    with torch.no_grad():
        model.encoder.patch_embed.proj.weight.zero_()
    blind = loss_for_mask(model, images, mask)
    images[:1, :, top : top + 8, left : left + 8] += 1
    assert loss_for_mask(model, images, mask) == blind != before


def test_forward__encodes_visible_patches_only():
    model, seen = autoencoder(), []
    model.encoder.blocks[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    model(torch.randn(2, 3, 24, 40), mode='loss')
    # 15 patches, 9 masked, 6 visible and the class token
    assert seen == [(2, 7, 24)]


def test_forward__same_seed_same_loss():
    model, images = autoencoder(), torch.randn(2, 3, 24, 40)
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(model(images, mode='loss')['loss'].item())
    assert losses[0] == losses[1] != losses[2]


def test_forward__other_size_than_trained():
    """As a model of that size would, with the positions of both halves resampled to its grid."""
    model, images = randomise(autoencoder()), torch.randn(2, 3, 40, 56)
    mask = random_mask(2, 35, 0.6)
    found = loss_for_mask(model, images, mask).item()
    assert found == pytest.approx(loop_loss(model, images, mask), rel=1e-5)
    large = MaskedAutoencoder(encoder(img_size=(40, 56)), dict(embed_dim=16, depth=1, num_heads=4), mask_ratio=0.6)
    weights = model.state_dict()
    for name in ('encoder.pos_embed', 'decoder.pos_embed'):
        weights[name] = resample_pos_embed(weights[name], (3, 5), (5, 7))
    large.load_state_dict(weights)
    assert loss_for_mask(large, images, mask).item() == pytest.approx(found, rel=1e-5)


def test_forward__four_channels():
    model = MaskedAutoencoder(encoder(in_channels=4), dict(embed_dim=16, depth=1, num_heads=4))
    assert model.decoder.pred.out_features == 8 * 8 * 4
    images, mask = torch.randn(2, 4, 24, 40), random_mask(2, 15, 0.6)
    randomise(model)
    assert loss_for_mask(model, images, mask).item() == pytest.approx(loop_loss(model, images, mask), rel=1e-5)
    changed = images.clone()
    changed[:, 3] += torch.randn(24, 40)
    assert loss_for_mask(model, changed, mask) != loss_for_mask(model, images, mask)


def test_forward__tensor_gives_the_encoders_maps():
    model, images = autoencoder(), torch.randn(2, 3, 24, 40)
    (maps,) = model(images)
    assert maps.shape == (2, 24, 3, 5)
    assert torch.equal(maps, model.encoder(images)[0])


def test_forward__unknown_mode():
    with pytest.raises(ValueError, match="mode='train' is unknown"):
        autoencoder()(torch.zeros(1, 3, 24, 40), mode='train')


def test_forward__part_patches_are_refused():
    with pytest.raises(ValueError, match='24x36 is not a multiple of 8'):
        autoencoder()(torch.zeros(1, 3, 24, 36), mode='loss')


def test_backward__every_trained_parameter_gets_a_gradient():
    model = autoencoder()
    model(torch.randn(2, 3, 24, 40), mode='loss')['loss'].backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert without == []
    assert frozen == ['encoder.pos_embed']


def test_predict__raw_pixels_are_the_predictions():
    model = randomise(autoencoder(norm_pix=False))
    images = torch.randn(2, 3, 24, 40)
    results = model(images, mode='predict')
    patches = decode(model, images, torch.stack([r.mask for r in results]), 6)
    assert [r.mask.sum().item() for r in results] == [9, 9]
    assert results[1].reconstruction.shape == (3, 24, 40)
    # Patch 7 is row 1, column 2; its vector runs over rows, columns, channels.
    expected = patches[1, 7].reshape(8, 8, 3).permute(2, 0, 1)
    assert torch.equal(results[1].reconstruction[:, 8:16, 16:24], expected)


def test_predict__normalised_pixels_borrow_the_patch_statistics():
    model = randomise(autoencoder(norm_pix=True))
    images = 3 * torch.randn(2, 3, 24, 40) + 2
    results = model(images, mode='predict')
    vector = decode(model, images, torch.stack([r.mask for r in results]), 6)[1, 7]
    patch = images[1, :, 8:16, 16:24]
    expected = vector.reshape(8, 8, 3).permute(2, 0, 1) * (patch.var() + 1e-6).sqrt() + patch.mean()
    assert torch.allclose(results[1].reconstruction[:, 8:16, 16:24], expected, atol=1e-5)


def test_autoencoder__built_by_mmengine_with_a_preprocessor_for_uint8():
    config = dict(
        type='MaskedAutoencoder',
        encoder=encoder(),
        decoder=dict(embed_dim=16, depth=1, num_heads=4),
        data_preprocessor=dict(type='ImgDataPreprocessor', mean=[10.0, 20.0, 30.0], std=[2.0, 4.0, 5.0]),
    )
    model = MODELS.build(config)
    images = torch.randint(0, 256, (2, 3, 24, 40), dtype=torch.uint8)
    inputs = model.data_preprocessor({'inputs': images}, True)['inputs']
    assert inputs.dtype == torch.float32
    assert inputs[1, 2, 3, 4].item() == pytest.approx((images[1, 2, 3, 4].item() - 30) / 5)
    # Statistics are no weights: published files lack them.
    assert not [name for name in model.state_dict() if name.startswith('data_preprocessor')]


def test_autoencoder__parameters_of_the_published_vit_base():
    model = MaskedAutoencoder(dict(type='PlainViT', variant='base', out_norm=True))
    values = sum(value.numel() for value in model.state_dict().values())
    # 111.91 M in the table of mmpretrain's model zoo, fixed positions included
    assert round(values / 1e6, 2) == 111.91


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(out_norm=False), 'set out_norm=True'),
        (dict(window_size=3), 'no windows or relative positions'),
        (dict(rel_pos='decomposed'), 'no windows or relative positions'),
    ],
)
def test_autoencoder__refuses_encoders_it_cannot_mask(change, message):
    with pytest.raises(ValueError, match=message):
        MaskedAutoencoder(encoder(**change))


def test_autoencoder__refuses_what_is_no_plain_vit():
    with pytest.raises(ValueError, match='Linear is none'):
        MaskedAutoencoder(torch.nn.Linear(2, 2))


def test_autoencoder__refuses_a_ratio_that_masks_nothing():
    with pytest.raises(ValueError, match=r'mask ratio 0\.01 masks 0 of 15'):
        autoencoder(mask_ratio=0.01)


def test_autoencoder__takes_a_built_encoder():
    vit = PlainViT(SMALL, img_size=(24, 40), patch_size=8, out_norm=True)
    assert MaskedAutoencoder(vit).encoder is vit


def test_training__learns_to_use_the_visible_patches():
    model = autoencoder(norm_pix=True)
    # Two patterns of stripes: which one it is shows in the visible patches only.
    images = torch.stack([(torch.arange(40.0) * f).sin().expand(3, 24, 40) for f in (0.3, 0.5)])
    targets = normalise_patches(patchify(images, 8))
    blind = (targets - targets.mean(dim=0)).square().mean().item()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(200):
        loss = model(images, mode='loss')['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.9
    # Without looking at the image the loss cannot fall below 0.66.
    assert 0.6 < blind < 0.7
    assert sum(losses[-5:]) / 5 < 0.2
