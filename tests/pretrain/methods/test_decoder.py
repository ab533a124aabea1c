import torch

from backbones.vit.pos_embed import resample_pos_embed, sincos_pos_embed
from pretrain.methods.decoder import MAEDecoder
from tests.helpers import randomise, relative_error

GRID = (3, 5)
INDEX = torch.tensor([[0, 4, 7, 11], [1, 2, 13, 14]])
ALL = torch.arange(15).expand(2, -1)


def decoder(**sizes):
    return MAEDecoder(24, 48, GRID, **{'embed_dim': 16, 'depth': 2, 'num_heads': 4, **sizes})


def test_decoder__predicts_every_patch():
    """By the blocks on tokens in their places, the class token first, put together in a loop."""
    model, latent = randomise(decoder()), torch.randn(2, 5, 24)
    rows = []
    for sample in range(2):
        seen = dict(zip(INDEX[sample].tolist(), model.embed(latent[sample, 1:]), strict=True))
        tokens = [model.embed(latent[sample, 0]) + model.pos_embed[0, 0]]
        tokens += [seen.get(place, model.mask_token[0, 0]) + model.pos_embed[0, 1 + place] for place in range(15)]
        rows.append(torch.stack(tokens))
    expected = torch.stack(rows)
    for block in model.blocks:
        expected = block(expected)
    expected = model.pred(model.norm(expected))[:, 1:]
    found = model(latent, INDEX, GRID, ALL)
    assert found.shape == (2, 15, 48)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_decoder__predicts_the_wanted_patches_alone():
    model, latent = randomise(decoder()), torch.randn(2, 5, 24)
    wanted = torch.tensor([[3, 0], [14, 5]])
    everything = model(latent, INDEX, GRID, ALL)
    expected = torch.stack([everything[0, [3, 0]], everything[1, [14, 5]]])
    assert torch.allclose(model(latent, INDEX, GRID, wanted), expected, atol=1e-6)


def test_decoder__default_sizes_are_the_papers():
    model = MAEDecoder(768, 768, (14, 14))
    # 512 wide, 8 blocks, MLP 4x; counted by hand: 26.0 M beside the fixed positions.
    block = 2 * 2 * 512 + 512 * 1536 + 1536 + 512 * 512 + 512 + 2 * 512 * 2048 + 2048 + 512
    expected = 8 * block + 768 * 512 + 512 + 512 + 2 * 512 + 512 * 768 + 768
    assert sum(p.numel() for p in model.parameters()) == expected
    assert model.blocks[0].attn.num_heads == 16


def test_decoder__without_blocks_is_token_plus_position():
    model = randomise(decoder(depth=0))
    latent = torch.randn(2, 5, 24)
    actual = model(latent, INDEX, GRID, ALL)
    for sample in range(2):
        visible = INDEX[sample].tolist()
        for place in range(15):
            if place in visible:
                token = model.embed(latent[sample, 1 + visible.index(place)])
            else:
                token = model.mask_token[0, 0]
            expected = model.pred(model.norm(token + model.pos_embed[0, 1 + place]))
            assert torch.allclose(actual[sample, place], expected, atol=1e-5)


def test_decoder__order_of_the_visible_tokens_does_not_matter():
    model = randomise(decoder())
    latent = torch.randn(2, 5, 24)
    shuffled = torch.tensor([2, 0, 3, 1])
    swapped = torch.cat([latent[:, :1], latent[:, 1:][:, shuffled]], dim=1)
    assert relative_error(model(swapped, INDEX[:, shuffled], GRID, ALL), model(latent, INDEX, GRID, ALL)) < 1e-5


def test_decoder__fixed_sincos_positions_are_not_trained():
    model = decoder()
    assert torch.equal(model.pos_embed, sincos_pos_embed(16, GRID))
    assert 'pos_embed' not in dict(model.named_parameters())
    assert 'pos_embed' in model.state_dict()


def test_decoder__other_grid_resamples_positions():
    model, other = randomise(decoder()), MAEDecoder(24, 48, (4, 7), embed_dim=16, depth=2, num_heads=4)
    state = {**model.state_dict(), 'pos_embed': resample_pos_embed(model.pos_embed, GRID, (4, 7))}
    other.load_state_dict(state)
    latent, all_of_them = torch.randn(2, 5, 24), torch.arange(28).expand(2, -1)
    expected = other(latent, INDEX, (4, 7), all_of_them)
    assert torch.equal(model(latent, INDEX, (4, 7), all_of_them), expected)


def test_decoder__initialised_as_the_paper():
    model = MAEDecoder(64, 48, GRID, embed_dim=256, depth=1, num_heads=4)
    bound = (6 / (64 + 256)) ** 0.5
    assert 0.95 * bound < model.embed.weight.abs().max() <= bound
    assert model.embed.bias.abs().max() == 0
    assert 0.015 < model.mask_token.std() < 0.025
