"""What the methods have in common, and each method's own view of the image."""

import math

import pytest
import torch
from mmengine.registry import MODELS

from pretrain.methods.beit import BEiTPretraining, init_beit
from pretrain.methods.denoise import DenoisingAutoencoder
from pretrain.methods.mae import MaskedAutoencoder
from pretrain.methods.simmim import SimMIM
from pretrain.methods.targets import TokenTarget, Views
from pretrain.tokenizer.dvae import DiscreteVAE
from tests.helpers import randomise, relative_error

SMALL = dict(embed_dim=24, depth=2, num_heads=3)


def encoder(**changes):
    return {'type': 'PlainViT', 'variant': SMALL, 'img_size': (24, 40), 'patch_size': 8, 'out_norm': True, **changes}


def tokens(vocab_size=11):
    return TokenTarget(randomise(DiscreteVAE(vocab_size, hidden=8, groups=3, blocks=1, decoder_init=4)).eval())


def beit(**changes):
    places = dict(rel_pos='shared_table', use_abs_pos=False, layer_scale=0.1)
    return randomise(BEiTPretraining(encoder(**places), **{'target': tokens(), 'mask_ratio': 0.4, **changes}))


METHODS = {
    'mae': lambda **o: MaskedAutoencoder(encoder(), dict(embed_dim=16, depth=1, num_heads=4), **o),
    'mae with mask tokens': lambda **o: MaskedAutoencoder(
        encoder(), dict(embed_dim=16, depth=1, num_heads=4), encoder_mask_tokens=True, **o
    ),
    'simmim': lambda **o: SimMIM(encoder(), **o),
    'beit': beit,
    'dae': lambda **o: DenoisingAutoencoder(encoder(), **o),
}


def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 24, 40, generator=generator)
    return images, torch.randint(0, 256, (2, 3, 12, 20), dtype=torch.uint8, generator=generator)


def loss_of(model, seed=0):
    images, token_inputs = batch()
    torch.manual_seed(seed)
    return model(images, mode='loss', token_inputs=token_inputs)['loss']


@pytest.mark.parametrize('method', METHODS)
def test_forward__every_trained_parameter_gets_a_gradient(method):
    model = METHODS[method]()
    loss_of(model).backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.parametrize('method', METHODS)
def test_forward__seed_decides(method):
    model = randomise(METHODS[method]())
    assert loss_of(model, 1) == loss_of(model, 1) != loss_of(model, 2)


@pytest.mark.parametrize('method', METHODS)
def test_forward__predicts_tokens_in_place_of_pixels(method):
    model = METHODS[method](target=tokens())
    images, token_inputs = batch()
    losses = model(images, mode='loss', token_inputs=token_inputs)
    assert losses.keys() == {'loss', 'mlm_acc'}
    assert abs(losses['loss'].item() - math.log(11)) < 2
    assert model(images, mode='predict', token_inputs=token_inputs)[1].tokens.shape == (3, 5)
    # Trained elsewhere: neither learnt nor saved.
    assert not any('tokenizer' in name for name in model.state_dict())


@pytest.mark.parametrize('method', ['mae', 'simmim', 'beit'])
@pytest.mark.parametrize('mask', ['random', 'block', 'grid'])
def test_forward__kind_of_mask(method, mask):
    model = METHODS[method](mask=mask, mask_ratio=0.6)
    torch.manual_seed(0)
    drawn = model.draw_mask(batch()[0])
    assert drawn.sum(dim=1).tolist() == [9, 9]
    other = METHODS[method](mask='random' if mask != 'random' else 'block', mask_ratio=0.6)
    torch.manual_seed(0)
    assert not torch.equal(drawn, other.draw_mask(batch()[0]))


@pytest.mark.parametrize('method', ['mae', 'simmim', 'dae'])
def test_forward__norm_pix_changes_the_loss(method):
    assert loss_of(randomise(METHODS[method](norm_pix=True))) != loss_of(randomise(METHODS[method](norm_pix=False)))


def test_forward__unknown_mask():
    with pytest.raises(ValueError, match="mask='blocks' is unknown: use one of random, block, grid"):
        METHODS['simmim'](mask='blocks')


def test_forward__encoder_without_norm():
    with pytest.raises(ValueError, match='the encoder of SimMIM ends in a norm: set out_norm=True'):
        SimMIM(encoder(out_norm=False))


def test_mae__mask_tokens_make_the_encoder_see_every_place():
    model, seen = METHODS['mae with mask tokens'](), []
    model.encoder.blocks[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    loss_of(model)
    assert seen == [16]


@pytest.mark.parametrize('method', ['mae with mask tokens', 'simmim', 'beit'])
def test_mask_tokens__hide_masked_pixels_and_keep_their_places(method):
    model = randomise(METHODS[method]()).eval()
    images = batch()[0]
    mask = torch.zeros(2, 15, dtype=torch.bool)
    mask[:, [2, 9, 14]] = True
    places = torch.tensor([[2, 9, 14]] * 2)
    changed = images.clone()
    changed[:, :, 16:, 32:] += 1  # patch 14
    before = model.predict_patches(images, mask, 12, places)
    assert torch.equal(before, model.predict_patches(changed, mask, 12, places))
    # The mask token is the same everywhere: only positions tell the predictions apart.
    assert relative_error(before[:, 0], before[:, 1]) > 1e-2


def test_simmim__by_hand():
    model = randomise(SimMIM(encoder())).eval()
    images, vit = batch()[0], model.encoder
    mask = torch.zeros(2, 15, dtype=torch.bool)
    mask[:, [2, 9, 14]] = True
    embedded = vit.embed(images)
    for sample in range(2):
        for place in (2, 9, 14):
            embedded[sample, place] = model.mask_token[0, 0] + vit.pos_embed[0, 1 + place]
    expected = model.head(vit.encode(embedded)[:, 1:])[:, [2, 9, 14]]
    actual = model.predict_patches(images, mask, 12, torch.tensor([[2, 9, 14]] * 2))
    assert relative_error(actual, expected) < 1e-5
    truth = images[1, :, 8:16, 32:40].permute(1, 2, 0).flatten()
    one = model.losses_for_mask(Views(images, 8), mask)['loss']
    patches = [images[s, :, 8 * (p // 5) :, 8 * (p % 5) :][:, :8, :8] for s in range(2) for p in (2, 9, 14)]
    target = torch.stack([patch.permute(1, 2, 0).flatten() for patch in patches])
    assert torch.equal(target[4], truth)
    assert one.item() == pytest.approx((expected.flatten(0, 1) - target).abs().mean().item(), rel=1e-5)
    assert SimMIM(encoder(), loss='l2').target.distance is not model.target.distance


def test_dae__cleans_every_patch():
    model = randomise(DenoisingAutoencoder(encoder(), noise=0.5)).eval()
    images = batch()[0]
    torch.manual_seed(4)
    noisy = images + 0.5 * torch.randn(2, 3, 24, 40)
    prediction = model.head(model.encoder.encode(model.encoder.embed(noisy))[:, 1:])
    # (B, 15, 8 8 3) -> (B, 3, 24, 40)
    pixels = prediction.reshape(2, 3, 5, 8, 8, 3).permute(0, 5, 1, 3, 2, 4).reshape(2, 3, 24, 40)
    torch.manual_seed(4)
    result = model(images, mode='predict')
    assert torch.equal(result[1].corrupted, noisy[1])
    assert relative_error(result[1].reconstruction, pixels[1]) < 1e-5
    torch.manual_seed(4)
    loss = model(images, mode='loss')['loss'].item()
    assert loss == pytest.approx((pixels - images).square().mean().item(), rel=1e-5)


def test_dae__noise_changes_the_loss():
    weak, strong = (randomise(DenoisingAutoencoder(encoder(), noise=noise)) for noise in (0.1, 1.0))
    assert loss_of(weak) != loss_of(strong)
    with pytest.raises(ValueError, match='noise=0 leaves nothing to learn'):
        DenoisingAutoencoder(encoder(), noise=0)


def test_beit__weights_start_as_in_the_papers_code():
    torch.manual_seed(0)
    sizes = dict(embed_dim=192, depth=3, num_heads=3)
    vit = MODELS.build(encoder(variant=sizes, rel_pos='shared_table', use_abs_pos=False, layer_scale=0.1))
    init_beit(vit)
    for number, block in enumerate(vit.blocks, start=1):
        # A normal cut at one deviation of 0.02 has 0.54 of it.
        assert block.attn.qkv.weight.std().item() == pytest.approx(0.0108, rel=0.02)
        assert block.attn.qkv.weight.abs().max() <= 0.02
        for last in (block.attn.proj, block.mlp.fc2):
            assert last.weight.std().item() == pytest.approx(0.0108 / math.sqrt(2 * number), rel=0.02)
        assert block.mlp.fc1.bias.abs().max() == 0 and torch.all(block.gamma_1 == 0.1)
    assert vit.rel_pos_bias.relative_position_bias_table.abs().max() == 0


def test_beit__pretrained_encoder_is_loaded_after_its_own_start(tmp_path):
    source = METHODS['simmim']()
    torch.save({'state_dict': randomise(source).state_dict(), 'meta': {}}, tmp_path / 'a.pth')
    init_cfg = dict(type='PretrainedViT', checkpoint=str(tmp_path / 'a.pth'))
    model = BEiTPretraining(encoder(init_cfg=init_cfg), tokens(), mask_ratio=0.4)
    model.init_weights()
    assert torch.equal(model.encoder.blocks[1].mlp.fc2.weight, source.encoder.blocks[1].mlp.fc2.weight)


@pytest.mark.parametrize('method', METHODS)
def test_checkpoint__is_read_by_the_door(tmp_path, method):
    from backbones import PlainViT, load_pretrained

    model = randomise(METHODS[method]())
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, tmp_path / 'a.pth')
    options = dict(rel_pos='table', use_abs_pos=False, layer_scale=0.1) if method == 'beit' else {}
    vit = PlainViT(SMALL, (24, 40), 8, out_norm=True, **options)
    report = load_pretrained(vit, tmp_path / 'a.pth')
    assert report.format == 'dense-mae pretraining' and not report.unexpected
    images = batch()[0]
    assert relative_error(vit.eval()(images)[0], model.eval().encoder(images)[0]) < 1e-5
