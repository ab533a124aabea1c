import pytest
import torch

from backbones.vit.variants import VARIANTS
from pretrain.methods.restore import load_model
from pretrain.methods.restore_published import load_published
from tests.pretrain.methods.test_restore import save


def published_weights(embed_dim=192, depth=12):
    """Weights under the names of MAE's published files, with shapes of a small one: 40-pixel images, patch 8."""
    generator = torch.Generator().manual_seed(0)

    def linear(name, outputs, inputs):
        return {f'{name}.weight': (outputs, inputs), f'{name}.bias': (outputs,)}

    def block(name, width):
        layers = {f'{name}.{norm}.{part}': (width,) for norm in ('norm1', 'norm2') for part in ('weight', 'bias')}
        layers |= linear(f'{name}.attn.qkv', 3 * width, width) | linear(f'{name}.attn.proj', width, width)
        return layers | linear(f'{name}.mlp.fc1', 4 * width, width) | linear(f'{name}.mlp.fc2', width, 4 * width)

    shapes = {
        'cls_token': (1, 1, embed_dim),
        'pos_embed': (1, 26, embed_dim),
        'mask_token': (1, 1, 32),
        'decoder_pos_embed': (1, 26, 32),
        'patch_embed.proj.weight': (embed_dim, 3, 8, 8),
        'patch_embed.proj.bias': (embed_dim,),
        'norm.weight': (embed_dim,),
        'norm.bias': (embed_dim,),
        'decoder_norm.weight': (32,),
        'decoder_norm.bias': (32,),
    }
    shapes |= linear('decoder_embed', 32, embed_dim) | linear('decoder_pred', 192, 32)
    for index in range(depth):
        shapes |= block(f'blocks.{index}', embed_dim)
    for index in range(3):
        shapes |= block(f'decoder_blocks.{index}', 32)
    return {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}


def save_published(path, **sizes):
    weights = published_weights(**sizes)
    torch.save({'model': weights}, path)
    return weights


@pytest.mark.parametrize('norm_pix', [True, False])
def test_load_published__every_weight_in_its_place(tmp_path, norm_pix):
    weights = save_published(tmp_path / 'a.pth')
    model = load_published(tmp_path / 'a.pth', norm_pix)
    assert (model.target.norm_pix, model.mask_ratio, model.training) == (norm_pix, 0.75, False)
    assert (model.encoder.patch_size, model.encoder.pos_grid) == (8, (5, 5))
    assert model.encoder.blocks[0].attn.num_heads == VARIANTS['tiny']['num_heads']
    assert len(model.decoder.blocks) == 3 and model.decoder.blocks[0].attn.num_heads == 16
    state = model.state_dict()
    assert len(state) == len(weights)
    for ours, theirs in (
        ('encoder.cls_token', 'cls_token'),
        ('encoder.blocks.11.attn.qkv.bias', 'blocks.11.attn.qkv.bias'),
        ('decoder.mask_token', 'mask_token'),
        ('decoder.pos_embed', 'decoder_pos_embed'),
        ('decoder.blocks.2.mlp.fc1.weight', 'decoder_blocks.2.mlp.fc1.weight'),
        ('decoder.pred.bias', 'decoder_pred.bias'),
    ):
        assert torch.equal(state[ours], weights[theirs])


def test_load_published__size_without_known_heads(tmp_path):
    save_published(tmp_path / 'a.pth', depth=5)
    with pytest.raises(ValueError, match='width 192 and 5 blocks: the number of heads is unknown'):
        load_published(tmp_path / 'a.pth', True)


def test_load_published__altered_file(tmp_path):
    weights = published_weights()
    del weights['decoder_norm.bias']
    torch.save({'model': weights}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='does not fit the architecture of the published MAE'):
        load_published(tmp_path / 'a.pth', True)


def test_load_published__checkpoint_of_an_own_run(tmp_path):
    save(tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='is no published MAE with its decoder'):
        load_published(tmp_path / 'a.pth', True)


def test_load_model__published_file_does_not_tell_its_target(tmp_path):
    save_published(tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='does not tell what it predicts: say so by --target pixels'):
        load_model(tmp_path / 'a.pth')
